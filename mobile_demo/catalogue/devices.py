"""What the page *Devices* says."""

from __future__ import annotations

TEXTS = {
    "ask_devices": ("Who reported, and how right are they outside?", "Kimler bildirdi, dışarıda ne kadar doğrular?"),
    "ask_who": ("Who reported", "Kimler bildirdi"),
    "cores": ("{count} cores", "{count} çekirdek"),
    "reported_for": ("Measured", "Ölçülen"),
    "and_more": ("{count} more", "{count} tane daha"),
    "preflight": ("before measuring", "ölçümden önce"),
    "records": ("Records", "Kayıt"),
    "newest": ("Newest", "En yeni"),
    "reported_by": ("From", "Kimden"),
    "devices_of": ("{count} devices", "{count} cihaz"),
    "ask_field": ("How right are the answers outside?", "Yanıtlar dışarıda ne kadar doğru?"),
    "field_accuracy": ("Field accuracy", "Sahadaki doğruluk"),
    "test_accuracy": ("Test accuracy", "Test doğruluğu"),
    "field_note": (
        "From *Was it right?* on the phone page: people choose what they photograph and whether they answer, so this "
        "is no random sample. Only label and prediction are sent, never the picture.",
        "Telefon sayfasındaki *Doğru muydu?* sorusundan: neyin çekileceğini ve yanıtlamayı insanlar seçer, yani "
        "rastgele bir örneklem değildir. Yalnızca etiket ve tahmin gönderilir, resim asla.",
    ),
    "field_empty": (
        "Nobody has said yet whether an answer was right. The phone page asks after each answer:",
        "Bir yanıtın doğru olup olmadığını henüz kimse söylemedi. Telefon sayfası her yanıttan sonra sorar:",
    ),
    "field_alt": (
        "Field and test accuracy of {count} model files with 95 % confidence intervals.",
        "{count} model dosyasının sahadaki ve testteki doğruluğu, %95 güven aralıklarıyla.",
    ),
    "ask_doctor": ("What does a device say of itself?", "Bir cihaz kendisi için ne diyor?"),
    "looked_at": ("Looked at", "Bakılan"),
    "finding": ("Finding", "Bulgu"),
    "finding_ok": ("in order", "yolunda"),
    "finding_bad": ("to be mended", "düzeltilmeli"),
    "finding_note": ("note", "not"),
    "examine": ("Examine this machine", "Bu makineyi incele"),
    "examine_note": (
        "Runs `lokma doctor`, which tries each engine in a process of its own; its findings are in English.",
        "Her motoru kendi sürecinde deneyen `lokma doctor` komutunu çalıştırır; bulguları İngilizcedir.",
    ),
    "no_findings": (
        "The records of this device carry no findings; on the device, this command prints them:",
        "Bu cihazın kayıtlarında bulgu yok; cihazda bu komut onları yazar:",
    ),
    "ask_upload": ("A record from a phone without a network", "Ağı olmayan bir telefondan kayıt"),
    "upload_record": ("A file that the phone page saved (.json)", "Telefon sayfasının kaydettiği dosya (.json)"),
    "record_taken": ("{count} records were taken.", "{count} kayıt alındı."),
    "record_known": ("Nothing new: these records are here already.", "Yeni bir şey yok: bu kayıtlar zaten burada."),
    "record_refused": ("{name} was not taken: {detail}", "{name} alınmadı: {detail}"),
}
