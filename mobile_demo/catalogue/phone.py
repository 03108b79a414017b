"""What the phone page says; its keys start with `phone_`, which the page's own modules leave out."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    # the head
    "phone_which_bundle": ("Model", "Model"),
    "phone_title_pictures": ("Take a photo, your phone answers", "Fotoğrafını çek, telefonun yanıtlasın"),
    "phone_title_policy": ("Your phone balances the pole", "Telefonun çubuğu dengede tutuyor"),
    "phone_title_numbers": ("Give the numbers, your phone answers", "Sayıları ver, telefonun yanıtlasın"),
    "phone_decides": ("Decides: {labels}", "Kararları: {labels}"),
    "phone_knows": ("Knows: {labels}", "Bildikleri: {labels}"),
    # pictures
    "phone_pictures_section": ("Photo", "Fotoğraf"),
    "phone_take": ("Take a photo", "Fotoğraf çek"),
    "phone_choose": ("Choose a photo", "Fotoğraf seç"),
    "phone_camera_on": ("Live camera", "Canlı kamera"),
    "phone_camera_off": ("Stop the camera", "Kamerayı durdur"),
    "phone_samples": ("Samples", "Örnekler"),
    "phone_sample": ("Sample {number}", "Örnek {number}"),
    "phone_credit": ("Photo: {source}, {licence}.", "Fotoğraf: {source}, {licence}."),
    "phone_credit_golden": (
        "A golden case: a picture that the bundle brings along.",
        "Referans örnek: model paketinin kendi resmi.",
    ),
    # the answer
    "phone_answer_section": ("Answer", "Yanıt"),
    "phone_where_photo": (
        "on your phone, {time} · Your photo stays on your phone",
        "telefonunda, {time} · Fotoğrafın telefonundan çıkmaz",
    ),
    "phone_where_numbers": (
        "on your phone, {time} · Your numbers stay on your phone",
        "telefonunda, {time} · Sayıların telefonundan çıkmaz",
    ),
    "phone_where_policy": (
        "on your phone, {time} a decision · now: {action}",
        "telefonunda, karar başına {time} · şimdi: {action}",
    ),
    "phone_a_second": ("{rate} pictures a second", "saniyede {rate} resim"),
    "phone_unsure": ("I am not sure", "Emin değilim"),
    "phone_none_of_them": ("None of them", "Hiçbiri"),
    "phone_was_it_right": ("Was it right?", "Doğru muydu?"),
    "phone_yes": ("Yes", "Evet"),
    "phone_no": ("No", "Hayır"),
    "phone_it_was": ("It was", "Doğrusu"),
    "phone_something_else": ("something else", "başka bir şey"),
    "phone_tell": ("Send", "Gönder"),
    "phone_thanks": (
        "Thank you. Only the label is counted, never the picture.",
        "Teşekkürler. Yalnızca etiket sayılır, resim hiçbir yere gitmez.",
    ),
    # the policy
    "phone_policy_section": ("CartPole", "CartPole"),
    "phone_cart_label": (
        "A cart on a track balances a pole",
        "Raydaki bir araba çubuğu dengede tutuyor",
    ),
    "phone_play": ("Play", "Oynat"),
    "phone_stop": ("Stop", "Durdur"),
    "phone_push": ("Push the pole", "Çubuğu it"),
    "phone_steps": ("{steps} of {most} steps", "{steps} / {most} adım"),
    # numbers
    "phone_numbers_section": ("Numbers", "Sayılar"),
    "phone_number_of": ("Number {index}", "Sayı {index}"),
    "phone_ask_numbers": ("Ask", "Sor"),
    # loading
    "phone_loading_section": ("Loading", "Yükleniyor"),
    "phone_loading": ("Loading the model: {got} of {total}", "Model yükleniyor: {got} / {total}"),
    "phone_starting": ("Starting …", "Başlatılıyor …"),
    "phone_large": (
        "This model is large: {size}. It is loaded when you ask for it.",
        "Bu model büyük: {size}. Sen istersen yüklenir.",
    ),
    "phone_load": ("Load {size}", "Yükle: {size}"),
    # the speed test
    "phone_speed_title": ("Speed test", "Hız testi"),
    "phone_speed_what": (
        "Measures every model file on this phone: from a cold start, then steadily. Keep the page open meanwhile.",
        "Her model dosyasını bu telefonda ölçer: önce soğuk başlangıç, sonra sürekli. Bu sırada sayfayı açık tut.",
    ),
    "phone_phone_model": ("Which phone is this?", "Bu hangi telefon?"),
    "phone_start_speed": ("Start speed test", "Hız testini başlat"),
    "phone_speed_loading": ("Loading {file}, {size} …", "Yükleniyor: {file}, {size} …"),
    "phone_speed_running": ("Measuring {file} …", "Ölçülüyor: {file} …"),
    "phone_speed_sent": (
        "The numbers are on the dashboard now.",
        "Sayılar şimdi gösterge sayfasında.",
    ),
    "phone_speed_kept": (
        "Half of the answers stay within p50, nine in ten within p90; n is how many there were.",
        "Yanıtların yarısı p50, onda dokuzu p90 süresini aşmadı; n yanıt sayısıdır.",
    ),
    "phone_col_file": ("Model file", "Model dosyası"),
    "phone_col_cold": ("Cold start", "Soğuk başlangıç"),
    "phone_col_p50": ("p50", "p50"),
    "phone_col_p90": ("p90", "p90"),
    "phone_col_n": ("n", "n"),
    # the check
    "phone_check_title": ("Check", "Denetim"),
    "phone_check_what": (
        "Proves that the model answers here as it did where it was made.",
        "Modelin burada, yapıldığı yerdeki gibi yanıt verdiğini kanıtlar.",
    ),
    "phone_check_start": ("Check", "Denetle"),
    "phone_check_running": ("{file}: checking …", "{file}: denetleniyor …"),
    "phone_check_good": (
        "{file}: {cases} golden cases agree, largest difference {difference}.",
        "{file}: {cases} referans örnek uyuşuyor, en büyük fark {difference}.",
    ),
    "phone_check_bad": (
        "{file}: the golden cases ({cases}) do not agree, largest difference {difference}.",
        "{file}: referans örnekler ({cases}) uyuşmuyor, en büyük fark {difference}.",
    ),
    "phone_check_pixels": (
        "Pixels differ by at most {levels} of 255.",
        "Pikseller 255 üzerinden en çok {levels} farklı.",
    ),
    # what is off here, and why
    "phone_features_title": ("What works here", "Burada neler çalışıyor"),
    "phone_feature_answer": (
        "Photos, answers, speed test: on this phone",
        "Fotoğraf, yanıt, hız testi: bu telefonda",
    ),
    "phone_feature_threads": ("Several threads (now {count})", "Birden çok iş parçacığı (şimdi {count})"),
    "phone_feature_camera": ("Live camera", "Canlı kamera"),
    "phone_feature_offline": ("Offline, and as an app", "Çevrimdışı ve uygulama olarak"),
    "phone_why_http": (
        "Off: this address is plain http. With the phone on a USB cable `adb reverse` gives all of it, "
        "`lokma phone --https` the camera and threads.",
        "Kapalı: bu adres düz http. Telefon USB kablosuyla bağlıyken `adb reverse` hepsini, "
        "`lokma phone --https` kamerayı ve iş parçacıklarını açar.",
    ),
    "phone_why_reload": ("Off: load the page once more.", "Kapalı: sayfayı bir kez daha yükle."),
    "phone_why_one_core": (
        "Off: one core, or one thread was asked for.",
        "Kapalı: tek çekirdek ya da tek iş parçacığı.",
    ),
    "phone_why_no_camera": ("Off: this browser has no camera.", "Kapalı: bu tarayıcıda kamera yok."),
    "phone_why_no_worker": (
        "Off: this browser has no service workers.",
        "Kapalı: bu tarayıcıda service worker yok.",
    ),
    # about
    "phone_about_title": ("About the model", "Model hakkında"),
    "phone_fact_bundle": ("Bundle", "Model paketi"),
    "phone_fact_version": ("{name}, version {version}", "{name}, sürüm {version}"),
    "phone_fact_file": ("Answers now", "Şimdi yanıtlayan"),
    "phone_fact_accuracy": ("Accuracy on test data", "Test verisinde doğruluk"),
    "phone_fact_files": ("Files", "Dosyalar"),
    "phone_fact_hash": ("Its hash begins", "Özetinin başı"),
    "phone_accuracy_of": ("{value} of {n}", "{value} (n = {n})"),
    "phone_return_of": ("mean return {value}, {n} episodes", "ortalama toplam ödül {value}, {n} bölüm"),
    "phone_not_measured": ("not measured", "ölçülmedi"),
    # what waits
    "phone_outbox_kept": (
        "Records that wait on this phone: {count}. Save them to a file; the dashboard reads it.",
        "Bu telefonda bekleyen kayıt: {count}. Dosyaya kaydet; gösterge sayfası onu okur.",
    ),
    "phone_outbox_refused": (
        "The computer did not take the records. Scan its QR code again.",
        "Bilgisayar kayıtları almadı. QR kodunu yeniden okut.",
    ),
    "phone_save_file": ("Save to a file", "Dosyaya kaydet"),
    "phone_new_version": ("A new version of this page is here.", "Bu sayfanın yeni sürümü hazır."),
    "phone_change_version": ("Change to it", "Yeni sürüme geç"),
    "phone_footer": (
        "lokma computes on your phone. No app store, no account.",
        "lokma telefonunda hesaplar. Uygulama mağazası yok, hesap açmak yok.",
    ),
    # errors
    "phone_error_network": (
        "The computer with the model does not answer. Are you on the same Wi-Fi?",
        "Modelin olduğu bilgisayar yanıt vermiyor. Aynı Wi-Fi ağında mısın?",
    ),
    "phone_error_cut": (
        "The download of {file} was cut off again and again. Load the page again; it goes on from there.",
        "{file} indirilirken bağlantı hep koptu. Sayfayı yeniden yükle, kaldığı yerden sürer.",
    ),
    "phone_error_altered": (
        "{file} did not arrive as it was sent. Load the page again.",
        "{file} gönderildiği gibi gelmedi. Sayfayı yeniden yükle.",
    ),
    "phone_error_not_there": (
        "{file} is not there any more. Load the page again, or scan the QR code again.",
        "{file} artık yerinde yok. Sayfayı yeniden yükle ya da QR kodunu yeniden okut.",
    ),
    "phone_error_manifest": (
        "The model's manifest is damaged. Export the model again.",
        "Modelin manifest dosyası bozuk. Modeli yeniden dışa aktar.",
    ),
    "phone_error_newer": (
        "The model needs a newer lokma ({needs}); this page is {here}. Load the page again, or update lokma.",
        "Model daha yeni bir lokma istiyor ({needs}); bu sayfanınki {here}. Sayfayı yeniden yükle ya da lokma "
        "sürümünü güncelle.",
    ),
    "phone_error_no_artifact": (
        "The model has no .onnx file, which is what a browser runs.",
        "Modelin .onnx dosyası yok; tarayıcı onu çalıştırır.",
    ),
    "phone_error_no_bundle": (
        "There is no model {name} here; there is {here}.",
        "Burada {name} adlı model yok; olanlar: {here}.",
    ),
    "phone_error_simd": (
        "This browser is too old for the engine (it has no WebAssembly SIMD). Update it, or take Chrome, Firefox or "
        "Safari 16.4 and later.",
        "Bu tarayıcı motor için eski (WebAssembly SIMD yok). Güncelle ya da Chrome, Firefox veya Safari 16.4 ve "
        "sonrasını kullan.",
    ),
    "phone_error_memory": (
        "This phone has too little free memory for the model. Close other pages and load this one again.",
        "Bu telefonda model için yeterli boş bellek yok. Öteki sayfaları kapatıp bunu yeniden yükle.",
    ),
    "phone_error_engine": (
        "The engine cannot run the model here: {said}",
        "Motor modeli burada çalıştıramıyor: {said}",
    ),
    "phone_error_picture": (
        "This file is not a picture that the browser can read. Choose a JPEG, PNG or WebP.",
        "Bu dosya, tarayıcının okuyabildiği bir resim değil. JPEG, PNG veya WebP seç.",
    ),
    "phone_error_heic": (
        "This picture is HEIC, which this browser cannot read. Take it as JPEG, or choose another.",
        "Bu resim HEIC; bu tarayıcı onu okuyamıyor. JPEG olarak çek ya da başka bir resim seç.",
    ),
    "phone_error_picture_size": (
        "This picture has more than {millions} million pixels. Choose a smaller one.",
        "Bu resimde {millions} milyondan çok piksel var. Daha küçük bir resim seç.",
    ),
    "phone_error_camera_denied": (
        "The browser may not use the camera. Allow it beside the address.",
        "Tarayıcının kamera izni yok. Adresin yanından izin ver.",
    ),
    "phone_error_camera": ("No camera was found.", "Kamera bulunamadı."),
    "phone_error_unknown": ("Something went wrong: {said}", "Bir şeyler ters gitti: {said}"),
}
