"""What the page *Answer* says."""

from __future__ import annotations

TEXTS = {
    "ask_which": (
        "Which model file keeps {floor} and {fps} FPS?",
        "Hangi model dosyası {floor} doğruluğu ve {fps} FPS hızı koruyor?",
    ),
    "ask_which_policy": (
        "Which model file keeps {floor} of the return and {fps} FPS?",
        "Hangi model dosyası toplam ödülün {floor} kadarını ve {fps} FPS hızı koruyor?",
    ),
    "floor": ("At least (%)", "En az (%)"),
    "floor_help": (
        "The share of right answers that a model file must reach; for a policy, the share of eager torch's return.",
        "Model dosyasının ulaşması gereken doğru yanıt oranı; bir politika için eager torch toplam ödülünün oranı.",
    ),
    "fps": ("Frames a second", "Saniyede kare"),
    "fps_help": (
        "A rate is kept where nine in ten answers come in time for it.",
        "On yanıttan dokuzu zamanında geliyorsa hız korunur.",
    ),
    "ask_why": ("Why this one, and why not the others?", "Neden bu, neden diğerleri değil?"),
    "ask_trade": ("How accurate, and how fast?", "Ne kadar doğru, ne kadar hızlı?"),
    "ask_cloud": ("Would the cloud be better?", "Bulut daha mı iyi olurdu?"),
    "ask_source": ("Where are these numbers from?", "Bu sayılar nereden geliyor?"),
    # the answer in one sentence
    "keeps": (
        "Yes: **{system}** keeps {floor} and {fps} FPS {there}: **{accuracy}** right ({right} of {n}), and nine in "
        "ten answers within **{p90}**.",
        "Evet: **{system}**, {there} {floor} doğruluğu ve {fps} FPS hızı koruyor: doğruluk **{accuracy}** "
        "({n} örnekten {right} doğru), on yanıttan dokuzu **{p90}** içinde.",
    ),
    "keeps_policy": (
        "Yes: **{system}** keeps {floor} of eager torch's return and {fps} FPS {there}: a mean return of "
        "**{accuracy}** in {n} episodes, and nine in ten answers within **{p90}**.",
        "Evet: **{system}**, {there} eager torch toplam ödülünün {floor} kadarını ve {fps} FPS hızı koruyor: "
        "{n} bölümde ortalama toplam ödül **{accuracy}**, on yanıttan dokuzu **{p90}** içinde.",
    ),
    "fastest": ("It is the fastest of the {count} that do.", "Bunu yapan {count} dosyanın en hızlısı."),
    "tie": (
        "Whether {names} would be slower cannot be told; either will do.",
        "Şunların daha yavaş olup olmadığı söylenemez: {names}; hangisi olsa olur.",
    ),
    "unordered": (
        "They keep both too, but were not measured in the same blocks, so which is faster cannot be told: {names}.",
        "Şunlar da ikisini koruyor, ama aynı bloklarda ölçülmediler; hangisinin hızlı olduğu söylenemez: {names}.",
    ),
    "unproven": (
        "{n} examples do not prove {floor}: the 95 % confidence interval begins at {low}.",
        "{n} örnek {floor} için kanıt sayılmaz: %95 güven aralığı {low} değerinden başlıyor.",
    ),
    "none": (
        "No: no model file keeps {floor} and {fps} FPS {there}. The reason for each stands below.",
        "Hayır: {there} hiçbir model dosyası {floor} doğruluğu ve {fps} FPS hızı birlikte koruyamıyor. Her birinin "
        "nedeni aşağıda.",
    ),
    "nothing": (
        "Cannot tell: this measurement has no model file on the device.",
        "Söylenemez: bu ölçümde cihazda ölçülmüş bir model dosyası yok.",
    ),
    # the table of reasons
    "head_floor": ("Accuracy ≥ {floor}", "Doğruluk ≥ {floor}"),
    "head_floor_policy": ("Return ≥ {floor} of eager's", "Toplam ödül ≥ eager torch × {floor}"),
    "head_fps": ("Rate ≥ {fps} FPS", "Hız ≥ {fps} FPS"),
    "head_why": ("Why", "Neden"),
    "fps_of": ("{fps} FPS", "{fps} FPS"),
    "within": ("p90 {p90}", "p90 {p90}"),
    "why_chosen": ("Taken: keeps both, and is the fastest.", "Seçildi: ikisini de koruyor ve en hızlısı."),
    "why_first": (
        "Named first: keeps both, with the lowest median time.",
        "İlk anılan: ikisini de koruyor, ortanca süresi en kısa.",
    ),
    "why_slower": (
        "Keeps both; {ratio} times the time of the first (95 %: {interval}).",
        "İkisini de koruyor; ilkinin {ratio} katı sürüyor (%95 güven aralığı: {interval}).",
    ),
    "why_close": (
        "Keeps both; {ratio} times the time of the first (95 %: {interval}), no more than the machine itself varied.",
        "İkisini de koruyor; ilkinin {ratio} katı sürüyor (%95 güven aralığı: {interval}), makinenin kendi oynaması "
        "kadar.",
    ),
    "why_unpaired": (
        "Keeps both; its time cannot be paired with that of the first.",
        "İkisini de koruyor; süresi ilkiyle eşleştirilemiyor.",
    ),
    "why_slow": (
        "Too slow: {fps} FPS allows {budget} a frame; nine in ten answers take up to {p90}.",
        "Çok yavaş: {fps} FPS kare başına {budget} tanır; on yanıttan dokuzu {p90} sürebiliyor.",
    ),
    "why_under": ("Too often wrong: {reached}, asked for {floor}.", "Fazla yanılıyor: {reached}; istenen {floor}."),
    "why_both": (
        "Too often wrong ({reached}, asked for {floor}) and too slow (p90 {p90}, allowed {budget}).",
        "Fazla yanılıyor ({reached}; istenen {floor}) ve çok yavaş (p90 {p90}; tanınan {budget}).",
    ),
    "why_unmeasured": (
        "Its accuracy was measured nowhere.",
        "Doğruluğu hiçbir yerde ölçülmemiş.",
    ),
    "rule": (
        "A file keeps {floor} where its measured accuracy is at least that, and {fps} FPS where nine in ten answers "
        "come within {budget}. Of those that keep both, the one with the lowest median time is named; another is "
        "called slower only where the paired ratio differs by more than the machine itself varied.",
        "Ölçülen doğruluğu en az {floor} olan dosya doğruluğu, on yanıtından dokuzu {budget} içinde gelen dosya "
        "{fps} FPS hızı korur. İkisini de koruyanlardan ortanca süresi en kısa olan anılır; bir diğerine, ancak "
        "eşlenmiş oran makinenin kendi oynamasından fazla ayrılıyorsa daha yavaş denir.",
    ),
    "own_noise": (
        "The machine's own variation: later passes of the same system took {ratio} times the earlier ones "
        "(95 %: {interval}).",
        "Makinenin kendi oynaması: aynı sistemin sonraki geçişleri öncekilerin {ratio} katı sürdü "
        "(%95 güven aralığı: {interval}).",
    ),
    "accuracy_elsewhere": (
        "This device did not measure the accuracy; it is that of the very same file on {cpu}.",
        "Bu cihaz doğruluğu ölçmedi; gösterilen, aynı dosyanın {cpu} üzerindeki doğruluğu.",
    ),
    # key figures
    "tile_time": ("Time to the answer", "Yanıt süresi"),
    "tile_cold": ("Cold start", "Soğuk başlangıç"),
    "tile_memory": ("Peak memory", "En yüksek bellek kullanımı"),
    "tile_size": ("File size", "Dosya boyutu"),
    "times_eager": ("{ratio} × eager torch", "eager torch × {ratio}"),
    # the cloud
    "cloud_missing": (
        "Not measured yet: this bundle has no measurement in the cloud. Two commands make one:",
        "Henüz ölçülmedi: bu model paketinin bulutta ölçümü yok. İki komut yeter:",
    ),
    "cloud_slower": (
        "No: the answer came from the cloud after **{cloud}**, from **{device}** on the device after **{own}** (p50).",
        "Hayır: yanıt buluttan **{cloud}**, cihazdaki **{device}** dosyasından **{own}** sonra geldi (p50).",
    ),
    "cloud_faster": (
        "Faster, yes: the answer came from the cloud after **{cloud}**, from **{device}** on the device after "
        "**{own}** (p50).",
        "Daha hızlı, evet: yanıt buluttan **{cloud}**, cihazdaki **{device}** dosyasından **{own}** sonra geldi (p50).",
    ),
    "even_at": (
        "Break-even, reckoned from the medians: with a network that takes less than **{needed}** an answer the cloud "
        "is faster; the measured one took {network}.",
        "Başa baş noktası (ortancalardan modellendi): ağ yanıt başına **{needed}** altında kalırsa bulut daha hızlı "
        "olur; ölçülen ağ {network} sürdü.",
    ),
    "even_never": (
        "Break-even, reckoned from the medians: none. Without any network the server alone takes {server}, the device "
        "{own}.",
        "Başa baş noktası (ortancalardan modellendi): yok. Ağ hiç olmasa bile yalnızca sunucu {server} sürüyor, cihaz "
        "{own}.",
    ),
    "even_measured": (
        "Break-even, measured: from a round trip of **{at}** on, {device} on this device is faster than {cloud} in the "
        "cloud (emulated links of {links}, {mbit} Mbit/s).",
        "Başa baş noktası (ölçüldü): gidiş dönüş **{at}** ya da daha uzunsa bu cihazdaki {device}, buluttaki {cloud} "
        "dosyasından daha hızlı (öykünülen bağlantılar: {links}, {mbit} Mbit/s).",
    ),
    "even_device": (
        "Break-even, measured: none. {device} on this device was faster than {cloud} in the cloud on every link, even "
        "with a round trip of {first} (emulated links up to {last}, {mbit} Mbit/s).",
        "Başa baş noktası (ölçüldü): yok. Bu cihazdaki {device}, gidiş dönüş {first} iken bile buluttaki {cloud} "
        "dosyasından daha hızlıydı (öykünülen bağlantılar: en çok {last}, {mbit} Mbit/s).",
    ),
    "even_cloud": (
        "Break-even, measured: none up to a round trip of {last}. {cloud} in the cloud was faster than {device} on "
        "this device on every link (emulated, {mbit} Mbit/s).",
        "Başa baş noktası (ölçüldü): gidiş dönüş {last} olana kadar yok. Buluttaki {cloud}, her bağlantıda bu "
        "cihazdaki {device} dosyasından daha hızlıydı (öykünülen bağlantılar, {mbit} Mbit/s).",
    ),
    "cloud_note": (
        "Newest measurement of each server and network; what was emulated says so.",
        "Her sunucu ve ağın en yeni ölçümü; öykünülen ağ yanında yazar.",
    ),
    # where the numbers are from
    "machine": ("Machine", "Makine"),
    "measured": ("Measured", "Ölçüldü"),
    "data": ("Data", "Veri"),
    "offered": ("How", "Nasıl"),
    "machine_line": (
        "{cpu}, {cores} cores, {memory} memory, {system}",
        "{cpu}, {cores} çekirdek, {memory} bellek, {system}",
    ),
    "data_line": ("{name}, {n} inputs", "{name}, {n} girdi"),
    "offered_line": (
        "one input at a time (SingleStream), {passes} passes in interleaved blocks, each system in its own process",
        "her seferinde bir girdi (SingleStream), sırayla bloklar hâlinde {passes} geçiş, her sistem kendi sürecinde",
    ),
}
