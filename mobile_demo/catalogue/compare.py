"""What the page *Compare* says."""

from __future__ import annotations

TEXTS = {
    "ask_compare": ("What does each one cost, and where?", "Her birinin bedeli ne, nerede?"),
    "target": ("Measured on", "Ölçüldüğü yer"),
    "target_device": ("device", "cihaz"),
    "target_eager": ("eager torch", "eager torch"),
    "target_gpu": ("GPU", "GPU"),
    "target_cloud": ("cloud", "bulut"),
    "target_ssh": ("by ssh", "ssh ile"),
    "target_phone": ("phone", "telefon"),
    "ask_table": ("The newest measurement of each", "Her birinin en yeni ölçümü"),
    "shown_of": (
        "The fastest {shown} of {total} are shown; choose a device or a place to see others.",
        "{total} sistemin en hızlı {shown} tanesi gösteriliyor; diğerleri için cihaz ya da yer seç.",
    ),
    "no_match": (
        "No measurement fits these filters. Take one away, or measure:",
        "Bu süzgeçlere uyan ölçüm yok. Birini kaldır ya da ölç:",
    ),
    "ask_front": ("Which ones are worth their cost?", "Hangileri bedeline değer?"),
    "cost": ("Cost", "Bedel"),
    "cost_latency": ("Latency", "Gecikme"),
    "cost_size": ("Size", "Boyut"),
    "cost_memory": ("Memory", "Bellek"),
    "axis_latency": ("Median time to the answer", "Ortanca yanıt süresi"),
    "axis_accuracy": ("Accuracy", "Doğruluk"),
    "axis_return": ("Mean return", "Ortalama toplam ödül"),
    "axis_time": ("Median time", "Ortanca süre"),
    "axis_percentiles": ("Time to the answer", "Yanıt süresi"),
    "trade_note": (
        "Up and to the left is better; the line joins those that no other beats in both. "
        "The bars are 95 % confidence intervals.",
        "Yukarı ve sol daha iyidir; çizgi, hiçbirinin ikisinde birden geçemediklerini birleştirir. "
        "Çubuklar %95 güven aralığıdır.",
    ),
    "trade_alt": (
        "Accuracy against cost of {count} systems, with 95 % confidence intervals; the tables have the same numbers.",
        "{count} sistemin bedeline karşı doğruluğu, %95 güven aralıklarıyla; aynı sayılar tablolarda.",
    ),
    "ask_stages": ("Where does the time go?", "Zaman nereye gidiyor?"),
    "stages_note": (
        "Medians of the stages, each on its own; their sum is close to the time to the answer, not equal to it.",
        "Aşamaların her birinin kendi ortancası; toplamları yanıt süresine yakındır, eşit değildir.",
    ),
    "stages_alt": (
        "Median time of each stage of {count} systems, from decode to postprocess.",
        "{count} sistemde kod çözmeden son işlemeye kadar her aşamanın ortanca süresi.",
    ),
    "stage": ("Stage", "Aşama"),
    "ask_percentiles": ("How slow are the slow ones?", "Yavaş yanıtlar ne kadar yavaş?"),
    "percentile": ("Percentile", "Yüzdelik"),
    "percentiles_note": (
        "p99 is shown where at least 299 answers were measured; fewer cannot bound it.",
        "p99, en az 299 yanıt ölçüldüyse gösterilir; daha azı onu sınırlayamaz.",
    ),
    "percentiles_alt": (
        "The 50th, 90th and, where measured, 99th percentile of {count} systems.",
        "{count} sistemin 50., 90. ve ölçüldüyse 99. yüzdeliği.",
    ),
    "ask_pair": ("Which of two?", "İkisinden hangisi?"),
    "pair_a": ("A", "A"),
    "pair_b": ("B", "B"),
    "pair_two": (
        "Two measurements are needed to compare.",
        "Karşılaştırmak için iki ölçüm gerekir.",
    ),
    "pair_about": ("Asked", "Soru"),
    "pair_answer": ("Verdict", "Karar"),
    "pair_evidence": ("Evidence", "Kanıt"),
    "pair_about_accuracy": ("Which is right more often?", "Hangisi daha sık doğru?"),
    "pair_about_latency": ("Which is faster?", "Hangisi daha hızlı?"),
    "pair_accuracy": ("{name} is right more often", "{name} daha sık doğru"),
    "pair_latency": ("{name} is faster", "{name} daha hızlı"),
    "pair_unclear": ("cannot be told", "söylenemez"),
    "pair_more": ("About {count} more would tell.", "Yaklaşık {count} tane daha gerekli."),
    "pair_by_answers": (
        "Of {n} inputs {a} alone is right on {only_a}, {b} alone on {only_b} (exact McNemar, p {p}).",
        "{n} girdinin {only_a} tanesinde yalnızca {a}, {only_b} tanesinde yalnızca {b} doğru (kesin McNemar, p {p}).",
    ),
    "pair_by_times": (
        "{b} takes {ratio} times as long as {a} (98 % interval: {interval}), from {n} pairs of blocks.",
        "{b}, {a} süresinin {ratio} katı sürüyor (%98 aralık: {interval}); {n} blok çifti.",
    ),
    "pair_no_predictions": (
        "A record keeps no predictions with their true labels.",
        "Kayıtlardan birinde tahminler ve doğru etiketleri yok.",
    ),
    "pair_other_inputs": (
        "The two did not answer the same inputs.",
        "İkisi aynı girdileri yanıtlamadı.",
    ),
    "pair_other_run": (
        "They were not measured in turn in one run; `lokma compare` with two files measures them anew.",
        "Aynı ölçümde sırayla ölçülmediler; `lokma compare` iki dosyayla yeniden ölçer.",
    ),
    "pair_other_blocks": (
        "They were not measured in the same blocks.",
        "Aynı bloklarda ölçülmediler.",
    ),
    "pair_no_times": ("A record holds no times.", "Kayıtlardan birinde süre yok."),
    "pair_few_blocks": (
        "They have too few common blocks.",
        "Ortak blokları çok az.",
    ),
    "pair_note": (
        "Decided at a risk of 2 in 100. Times that lie within 5 % of each other cannot be told apart here: two "
        "processes of one file differ by as much.",
        "Karar, 100 karşılaştırmada 2 yanılma payıyla verilir. Birbirine %5 kadar yakın süreler burada ayırt "
        "edilemez: aynı dosyanın iki süreci de o kadar farklı çıkabilir.",
    ),
}
