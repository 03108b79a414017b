"""What all pages of the dashboard say: the head, the filters, the table's words, what is empty or wrong."""

from __future__ import annotations

TEXTS = {
    # the head of every page
    "page_title": ("lokma · results", "lokma · sonuçlar"),
    "brand": ("lokma", "lokma"),
    "tagline": (
        "Bite-sized PyTorch models, with proof of what was gained and lost",
        "Lokma büyüklüğünde PyTorch modelleri: ne kazanıldı, ne kaybedildi, ölçülerek",
    ),
    "page_answer": ("Answer", "Cevap"),
    "page_compare": ("Compare", "Karşılaştır"),
    "page_model": ("Model", "Model"),
    "page_devices": ("Devices", "Cihazlar"),
    "language": ("Language", "Dil"),
    "bundle": ("Bundle", "Model paketi"),
    "device": ("Device", "Cihaz"),
    "run": ("Measurement", "Ölçüm"),
    "all_devices": ("All devices", "Tüm cihazlar"),
    "this_machine": ("this machine", "bu makine"),
    "on_this_machine": ("on this machine", "bu makinede"),
    "on_cpu": ("on {cpu} ({cores} cores)", "{cores} çekirdekli {cpu} üzerinde"),
    "on_phone": ("on {cpu}", "{cpu} üzerinde"),
    # tables
    "system": ("System", "Sistem"),
    "accuracy": ("Accuracy", "Doğruluk"),
    "mean_return": ("Mean return", "Ortalama toplam ödül"),
    "p50": ("p50", "p50"),
    "p90": ("p90", "p90"),
    "p99": ("p99", "p99"),
    "p99_needs": ("needs 299", "299 ölçüm gerekir"),
    "cold_start": ("Cold start", "Soğuk başlangıç"),
    "peak_memory": ("Peak memory", "En yüksek bellek kullanımı"),
    "size": ("Size", "Boyut"),
    "valid": ("Valid?", "Geçerli mi?"),
    "yes": ("yes", "evet"),
    "no": ("no", "hayır"),
    "chosen": ("chosen", "seçilen"),
    "right_of": ("{right} of {n}", "{right}/{n}"),
    "episodes": ("{n} episodes", "{n} bölüm"),
    "not_measured": ("not measured", "ölçülmedi"),
    "not_said": ("not said", "belirtilmemiş"),
    "memory": ("Memory", "Bellek"),
    "interval_95": ("95 %: {interval}", "%95 güven aralığı: {interval}"),
    "table_note": (
        "p50, p90 and p99 are the times that half, nine in ten and 99 in 100 of the answers stayed within. Ranges "
        "are 95 % confidence intervals; cold start is from an empty process to the first answer.",
        "p50, p90 ve p99, yanıtların yarısının, onda dokuzunun ve yüzde doksan dokuzunun içinde kaldığı süreler. "
        "Aralıklar %95 güven aralığıdır; soğuk başlangıç, boş bir süreçten ilk yanıta kadar geçen süredir.",
    ),
    "on_device": ("on the device", "cihazda"),
    "the_course": ("the course's way", "kurstaki yol"),
    "on_a_phone": ("on a phone", "telefonda"),
    "in_cloud": ("in the cloud", "bulutta"),
    "on_gpu": ("on the GPU", "GPU üzerinde"),
    "on_other": ("on {target}", "yer: {target}"),
    # the tables of README.md and README.tr.md
    "table_head": (
        "**{name}** on {cpu}, {cores} cores, {threads}:",
        "**{name}**, {cores} çekirdekli {cpu} işlemcili makinede, {threads} ile:",
    ),
    "threads": ("{count} threads", "{count} iş parçacığı"),
    "version": ("version {number}", "sürüm {number}"),
    "flagged": ("These numbers carry a warning: {flags}.", "Bu sayılar uyarı taşıyor: {flags}."),
    "flag_busy": (
        "other work kept {busy} % of the processors busy before the run",
        "ölçümden önce işlemcilerin %{busy} kadarı başka işlerle doluydu",
    ),
    "flag_noisy": (
        "the machine varied: later passes took {low} to {high} times the earlier ones",
        "makine dalgalandı: sonraki geçişlerin süresi öncekilerin {low} ile {high} katı arasında",
    ),
    "flag_heavy": ("heavy processes ran beside it: {names}", "yanında ağır süreçler çalıştı: {names}"),
    "flag_governor": ("the CPU governor was {name}", "işlemci hız yöneticisi: {name}"),
    "flag_none": (
        "the record says that it is not valid, without a reason",
        "kayıt geçersiz diyor, neden belirtmiyor",
    ),
    # stages
    "decode": ("Decode", "Kod çözme"),
    "preprocess": ("Preprocess", "Ön işleme"),
    "queue": ("Queue", "Kuyruk"),
    "network": ("Network", "Ağ"),
    "inference": ("Inference", "Çıkarım"),
    "postprocess": ("Postprocess", "Son işleme"),
    # taking it away
    "take_csv": ("CSV", "CSV"),
    "take_json": ("JSON", "JSON"),
    "take_png": ("Picture (PNG)", "Resim (PNG)"),
    "repeat": ("Repeat it", "Yinelemek için"),
    # what is empty, torn or wrong
    "dropped": (
        "{count} of the lines in the results could not be read as records and are left out.",
        "Sonuçlardaki {count} satır kayıt olarak okunamadı ve dışarıda bırakıldı.",
    ),
    "unreadable": (
        "{count} of this measurement's records lack what the page needs and are left out.",
        "Bu ölçümün {count} kaydında sayfanın gerek duyduğu bilgiler eksik; dışarıda bırakıldı.",
    ),
    "streamlit_note": (
        "Texts inside Streamlit's own controls are in English.",
        "Streamlit'in kendi denetimlerindeki yazılar yalnızca İngilizcedir.",
    ),
    "empty": ("There are no records yet.", "Henüz kayıt yok."),
    "empty_how": (
        "One command measures a bundle and writes its records; this page then shows them by itself:",
        "Tek bir komut bir model paketini ölçer ve kayıtlarını yazar; bu sayfa onları kendiliğinden gösterir:",
    ),
    "empty_where": ("Looked in {folder}.", "Bakılan klasör: {folder}."),
    "loading": ("Reading the records…", "Kayıtlar okunuyor…"),
    "bad_results": (
        "The records cannot be read: {detail}",
        "Kayıtlar okunamıyor: {detail}",
    ),
    "failed": (
        "This part of the page failed. The rest stands; the terminal that started the page has the details.",
        "Sayfanın bu bölümünde hata oluştu. Gerisi yerinde; ayrıntılar sayfayı başlatan terminalde.",
    ),
    "note": ("Note in the records: {note}", "Kayıtlardaki not: {note}"),
    "detail": ("Detail", "Ayrıntı"),
}
