"""What the dashboard says."""

from __future__ import annotations

TEXTS = {
    # the head of the page
    "page_title": ("lokma · results", "lokma · sonuçlar"),
    "brand": ("lokma", "lokma"),
    "tagline": (
        "Bite-sized PyTorch models, with proof of what was gained and lost",
        "Lokma büyüklüğünde PyTorch modelleri: ne kazanıldı, ne kaybedildi, ölçülerek",
    ),
    "language": ("Language", "Dil"),
    "bundle": ("Bundle", "Model paketi"),
    "run": ("Measurement", "Ölçüm"),
    # the sections, each a question
    "ask_which": ("Which model file should the device run?", "Cihaz hangi model dosyasını çalıştırsın?"),
    "ask_trade": ("How accurate, and how fast?", "Ne kadar doğru, ne kadar hızlı?"),
    "ask_table": ("What does each one cost?", "Her birinin bedeli ne?"),
    "ask_stages": ("Where does the time go?", "Zaman nereye gidiyor?"),
    "ask_try_picture": ("What do they see in your picture?", "Senin resminde ne görüyorlar?"),
    "ask_try_numbers": ("What do they answer to your numbers?", "Senin sayılarına ne yanıt veriyorlar?"),
    "ask_source": ("Where are these numbers from?", "Bu sayılar nereden geliyor?"),
    # the answer
    "best": (
        "On this machine **{system}** answers {thing} in **{p50}**, {ratio} times eager torch's time "
        "(95 %: {interval}).",
        "Bu makinede **{system}**, {thing} **{p50}** içinde yanıt veriyor: eager torch süresinin "
        "{ratio} katı "
        "(%95 güven aralığı: {interval}).",
    ),
    "best_there": (
        "On {cpu}, {cores} cores, **{system}** answers {thing} in **{p50}**, {ratio} times eager torch's time "
        "(95 %: {interval}).",
        "{cores} çekirdekli {cpu} işlemcili makinede **{system}**, {thing} **{p50}** içinde yanıt veriyor: "
        "eager torch süresinin {ratio} katı (%95 güven aralığı: {interval}).",
    ),
    "no_faster": (
        "Whether that is faster than eager torch cannot be told: the interval holds 1.",
        "Bunun eager torch'tan hızlı olup olmadığı söylenemez: güven aralığı 1'i içeriyor.",
    ),
    "right": (
        "It gets **{right} of {n}** right ({accuracy}; 95 %: {interval}), against {base} for eager torch.",
        "{n} örnekten **{right}** tanesini doğru biliyor ({accuracy}; %95 güven aralığı: {interval}); "
        "eager torch {base} tanesini biliyor.",
    ),
    "return": (
        "Its mean return is **{value}** over {n} episodes (95 %: {interval}), against {base} for eager torch.",
        "{n} bölümde ortalama toplam ödülü **{value}** (%95 güven aralığı: {interval}); eager torch için {base}.",
    ),
    "tie": (
        "Cannot tell which is faster: **{system}** answers {thing} in {p50} and **{rival}** in {rival_p50}, "
        "a ratio of {ratio} (95 %: {interval}), which may be 1. Both keep the accuracy; either will do.",
        "Hangisinin daha hızlı olduğu söylenemez: **{system}**, {thing} {p50}, **{rival}** ise "
        "{rival_p50} içinde "
        "yanıt veriyor; oran {ratio} (%95 güven aralığı: {interval}), yani 1 olabilir. İkisi de doğruluğu "
        "koruyor; hangisi olsa olur.",
    ),
    "noisy": (
        "Cannot tell: the machine itself varied too much. Eager torch against itself gave {ratio} "
        "(95 %: {interval}) in this run. Measure again when nothing else is running.",
        "Söylenemez: makinenin kendisi fazla oynadı. Bu ölçümde eager torch, kendisine karşı {ratio} "
        "(%95 güven aralığı: {interval}) verdi. Başka bir şey çalışmazken yeniden ölç.",
    ),
    "unfit": (
        "None of them: no model file of this run keeps the accuracy of eager torch.",
        "Hiçbiri: bu ölçümdeki hiçbir model dosyası eager torch doğruluğunu korumuyor.",
    ),
    "no_baseline": (
        "Cannot tell: this run has no eager torch to compare with.",
        "Söylenemez: bu ölçümde karşılaştırılacak eager torch yok.",
    ),
    "nothing": (
        "Cannot tell: this run measured no model file on the device.",
        "Söylenemez: bu ölçümde cihazda ölçülmüş bir model dosyası yok.",
    ),
    "uncompared": (
        "Cannot tell: the files of this run were not measured in the same blocks, so their times cannot be paired.",
        "Söylenemez: bu ölçümdeki dosyalar aynı bloklarda ölçülmemiş, süreleri eşleştirilemiyor.",
    ),
    "thing_picture": ("a picture", "bir resme"),
    "thing_observation": ("an observation", "bir gözleme"),
    "thing_input": ("an input", "bir girdiye"),
    # the four figures under it
    "tile_time": ("Time to the answer", "Yanıt süresi"),
    "tile_cold": ("Cold start", "Soğuk başlangıç"),
    "tile_memory": ("Peak memory", "En yüksek bellek kullanımı"),
    "tile_size": ("File size", "Dosya boyutu"),
    "times_eager": ("{ratio} × eager torch", "eager torch × {ratio}"),
    "interval_95": ("95 %: {interval}", "%95 güven aralığı: {interval}"),
    # how it was chosen
    "how_chosen": ("How this was chosen", "Bu nasıl seçildi?"),
    "rule_right": (
        "Kept are the files that get at most {allowed} of {n} fewer right than eager torch in the same run. "
        "Of these the one with the lowest median time is named. Two files differ only if the 95 % "
        "interval of "
        "their paired ratio leaves out 1.",
        "Aynı ölçümdeki eager torch sonucundan {n} örnekte en çok {allowed} doğru eksiği olan dosyalar "
        "kalır. "
        "Bunlardan ortanca süresi en kısa olan seçilir. İki dosya ancak eşlenmiş oranlarının %95 güven "
        "aralığı "
        "1'i içermiyorsa farklı sayılır.",
    ),
    "rule_value": (
        "Kept are the files whose mean is not below the lower 95 % limit of eager torch in the same run. "
        "Of these the one with the lowest median time is named. Two files differ only if the 95 % "
        "interval of "
        "their paired ratio leaves out 1.",
        "Ortalaması, aynı ölçümdeki eager torch için bulunan %95 güven aralığının alt sınırından aşağı "
        "düşmeyen "
        "dosyalar kalır. Bunlardan ortanca süresi en kısa olan seçilir. İki dosya ancak eşlenmiş "
        "oranlarının %95 "
        "güven aralığı 1'i içermiyorsa farklı sayılır.",
    ),
    "why_slower": (
        "**{system}**: {ratio} times the time (95 %: {interval}).",
        "**{system}**: sürenin {ratio} katı (%95 güven aralığı: {interval}).",
    ),
    "why_close": (
        "**{system}**: {ratio} times the time (95 %: {interval}), which may be the same.",
        "**{system}**: sürenin {ratio} katı (%95 güven aralığı: {interval}); aynı da olabilir.",
    ),
    "why_lost": (
        "**{system}**: {right} right, {lost} fewer than eager torch.",
        "**{system}**: {right} doğru, eager torch sonucundan {lost} eksik.",
    ),
    "why_below": (
        "**{system}**: mean return {value}, below {limit}.",
        "**{system}**: ortalama toplam ödül {value}; {limit} sınırının altında.",
    ),
    "why_unmeasured": (
        "**{system}**: its accuracy was not measured.",
        "**{system}**: doğruluğu ölçülmemiş.",
    ),
    "own_noise": (
        "The machine's own variation: eager torch's later passes took {ratio} times its earlier ones "
        "(95 %: {interval}).",
        "Makinenin kendi oynaması: eager torch'un sonraki geçişleri öncekilerin {ratio} katı sürdü "
        "(%95 güven aralığı: {interval}).",
    ),
    # charts
    "axis_latency": ("Median time to the answer", "Ortanca yanıt süresi"),
    "axis_accuracy": ("Accuracy", "Doğruluk"),
    "axis_return": ("Mean return", "Ortalama toplam ödül"),
    "axis_time": ("Median time", "Ortanca süre"),
    "trade_note": (
        "Up and to the left is better. The bars are 95 % confidence intervals.",
        "Yukarı ve sol daha iyidir. Çubuklar %95 güven aralığıdır.",
    ),
    "trade_alt": (
        "Accuracy against time to the answer of {count} systems, with 95 % confidence intervals; "
        "the table below has the same numbers.",
        "{count} sistemin yanıt süresine karşı doğruluğu, %95 güven aralıklarıyla; aynı sayılar aşağıdaki tabloda.",
    ),
    "stages_note": (
        "Medians of the stages, each on its own; their sum is close to the time to the answer, not equal to it.",
        "Aşamaların her birinin kendi ortancası; toplamları yanıt süresine yakındır, eşit değildir.",
    ),
    "stages_alt": (
        "Median time of decode, preprocess, inference and postprocess of {count} systems.",
        "{count} sistemde kod çözme, ön işleme, çıkarım ve son işlemenin ortanca süreleri.",
    ),
    "decode": ("Decode", "Kod çözme"),
    "preprocess": ("Preprocess", "Ön işleme"),
    "inference": ("Inference", "Çıkarım"),
    "postprocess": ("Postprocess", "Son işleme"),
    "stage": ("Stage", "Aşama"),
    # the table
    "system": ("System", "Sistem"),
    "accuracy": ("Accuracy", "Doğruluk"),
    "mean_return": ("Mean return", "Ortalama toplam ödül"),
    "p50": ("p50", "p50"),
    "p90": ("p90", "p90"),
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
    "table_note": (
        "p50 and p90 are the times that half and nine in ten of the answers stayed within. Ranges are 95 % "
        "confidence intervals; cold start is from an empty process to the first answer.",
        "p50 ve p90, yanıtların yarısının ve onda dokuzunun içinde kaldığı süreler. Aralıklar %95 güven "
        "aralığıdır; soğuk başlangıç, boş bir süreçten ilk yanıta kadar geçen süredir.",
    ),
    "on_device": ("on the device", "cihazda"),
    "the_course": ("the course's way", "kurstaki yol"),
    "on_other": ("on {target}", "yer: {target}"),
    # the tables of README.md and README.tr.md
    "table_head": (
        "**{name}** on {cpu}, {cores} cores, {threads}:",
        "**{name}**, {cores} çekirdekli {cpu} işlemcili makinede, {threads} ile:",
    ),
    # where the numbers are from
    "machine": ("Machine", "Makine"),
    "measured": ("Measured", "Ölçüldü"),
    "data": ("Data", "Veri"),
    "offered": ("How", "Nasıl"),
    "repeat": ("Repeat it", "Yinelemek için"),
    "machine_line": (
        "{cpu}, {cores} cores, {memory} memory, {system}",
        "{cpu}, {cores} çekirdek, {memory} bellek, {system}",
    ),
    "threads": ("{count} threads", "{count} iş parçacığı"),
    "data_line": ("{name}, {n} inputs", "{name}, {n} girdi"),
    "offered_line": (
        "one input at a time (SingleStream), {passes} passes in interleaved blocks, each system in its own process",
        "her seferinde bir girdi (SingleStream), sırayla bloklar hâlinde {passes} geçiş, her sistem kendi sürecinde",
    ),
    "version": ("version {number}", "sürüm {number}"),
    "flagged": (
        "These numbers carry a warning: {flags}.",
        "Bu sayılar uyarı taşıyor: {flags}.",
    ),
    "flag_busy": (
        "other work kept {busy} % of the processors busy before the run",
        "ölçümden önce işlemcilerin %{busy} kadarı başka işlerle doluydu",
    ),
    "flag_noisy": (
        "the machine varied: later passes took {low} to {high} times the earlier ones",
        "makine dalgalandı: sonraki geçişlerin süresi öncekilerin {low} ile {high} katı arasında",
    ),
    "flag_governor": ("the CPU governor was {name}", "işlemci hız yöneticisi: {name}"),
    "flag_none": (
        "the record says that it is not valid, without a reason",
        "kayıt geçersiz diyor, neden belirtmiyor",
    ),
    "note": ("Note in the records: {note}", "Kayıtlardaki not: {note}"),
    "dropped": (
        "{count} of the lines in the results could not be read as records and are left out.",
        "Sonuçlardaki {count} satır kayıt olarak okunamadı ve dışarıda bırakıldı.",
    ),
    "streamlit_note": (
        "Texts inside Streamlit's own controls are in English.",
        "Streamlit'in kendi denetimlerindeki yazılar yalnızca İngilizcedir.",
    ),
    # nothing there yet
    "empty": ("There are no records yet.", "Henüz kayıt yok."),
    "empty_how": (
        "One command measures a bundle and writes its records; then load this page again:",
        "Tek bir komut bir model paketini ölçer ve kayıtlarını yazar; sonra bu sayfayı yenile:",
    ),
    "empty_where": ("Looked in {folder}.", "Bakılan klasör: {folder}."),
    # try it
    "upload": ("A picture (JPEG, PNG or WebP)", "Bir resim (JPEG, PNG veya WebP)"),
    "upload_stays": (
        "It stays on the computer that runs this page.",
        "Resim, bu sayfayı çalıştıran bilgisayardan çıkmaz.",
    ),
    "number": ("Number {index}", "Sayı {index}"),
    "numbers_of": ("The model takes: {unit}.", "Modelin aldığı: {unit}."),
    "answers_note": (
        "Each file was asked twice; the time is the second answer's, decode included. It is a glimpse, not a "
        "measurement.",
        "Her dosyaya iki kez soruldu; süre, kod çözme dâhil ikinci yanıtındır. Bu bir fikir verir, ölçüm değildir.",
    ),
    "answer": ("Answer", "Yanıt"),
    "probability": ("Probability", "Olasılık"),
    "q_value": ("Value", "Değer"),
    "time": ("Time", "Süre"),
    "your_picture": ("Your picture", "Senin resmin"),
    "bad_picture": ("{name} cannot be read as a picture.", "{name}, resim olarak okunamadı."),
    "bad_numbers": ("These numbers do not fit the model.", "Bu sayılar modele uymuyor."),
    "engine_failed": ("cannot run here", "burada çalışmıyor"),
    "engine_missing": ("its engine is not installed here", "motoru burada kurulu değil"),
    "detail": ("Detail", "Ayrıntı"),
    "no_bundle": (
        "To try it with your own picture or numbers, the bundle itself is needed; {folder} is not there. "
        "This command writes it:",
        "Kendi resmin ya da sayılarınla denemek için model paketinin kendisi gerekir; {folder} yok. "
        "Bu komut onu yazar:",
    ),
    "bad_bundle": (
        "The bundle in {folder} cannot be used.",
        "{folder} içindeki model paketi kullanılamıyor.",
    ),
    "other_bundle": (
        "The bundle in {folder} is not the one that was measured above: its manifest differs.",
        "{folder} içindeki model paketi yukarıda ölçülen değil: manifest dosyası farklı.",
    ),
}
