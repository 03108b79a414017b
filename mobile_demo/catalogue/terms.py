"""The glossary, shown as tooltips: our term, the English word, *kursta: …* where the course says otherwise.

Every definition is written anew; none of the course's text is copied.

>>> TERMS["cold_start"].key, TERMS["cold_start"].turkish
('term_cold_start', 'soğuk başlangıç')
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A word of the glossary; `course` is the course's own rendering where it differs from ours."""

    key: str
    english: str
    turkish: str
    means: tuple[str, str]
    course: str = ""

    @property
    def texts(self) -> tuple[str, str]:
        """The tooltip in both languages."""
        beside = "; ".join(part for part in (self.english, f"kursta: {self.course}" if self.course else "") if part)
        return f"{self.english}: {self.means[0]}", f"{self.turkish} ({beside}): {self.means[1]}"


_ROWS = {
    "accuracy": ("accuracy", "doğruluk", "the share of answers that are right", "doğru yanıtların oranı"),
    "p50": (
        "p50, the median latency",
        "p50, ortanca gecikme",
        "half of the answers came within this time",
        "yanıtların yarısı bu sürede geldi",
    ),
    "p90": ("p90", "p90", "nine in ten answers came within this time", "on yanıttan dokuzu bu sürede geldi"),
    "p99": ("p99", "p99", "99 in 100 answers came within this time", "yüz yanıttan doksan dokuzu bu sürede geldi"),
    "cold_start": (
        "cold start",
        "soğuk başlangıç",
        "from an empty process to its first answer",
        "boş bir süreçten ilk yanıta kadar geçen süre",
    ),
    "peak_memory": (
        "peak memory",
        "en yüksek bellek kullanımı",
        "the most memory that the process held at once",
        "sürecin bir anda tuttuğu en fazla bellek",
    ),
    "size": ("file size", "dosya boyutu", "what a device downloads and stores", "bir cihazın indirip sakladığı"),
    "valid": (
        "validity",
        "geçerlilik",
        "whether the machine was quiet enough to be measured on",
        "makinenin ölçüm için yeterince sakin olup olmadığı",
    ),
    "system": (
        "system under test",
        "sınanan sistem",
        "a model file and the engine that runs it",
        "bir model dosyası ve onu çalıştıran motor",
    ),
    "mean_return": (
        "return",
        "toplam ödül",
        "what an agent collects in an episode",
        "bir ajanın bir bölümde topladığı ödül",
    ),
    "parity": (
        "parity",
        "eşlik",
        "how far a file's outputs are from the trained model's",
        "bir dosyanın çıktılarının eğitilen modelinkilerden ne kadar ayrıldığı",
    ),
    "verdict_accuracy": (
        "verdict",
        "karar",
        "pass, fail, or inconclusive: more examples would be needed",
        "geçti, kaldı ya da belirsiz: daha fazla örnek gerekir",
    ),
    "verdict_speed": (
        "speed verdict",
        "hız kararı",
        "faster, no gain or slower than fp32 of the same engine, by an interval",
        "aynı motorun fp32 dosyasından daha hızlı, kazançsız ya da daha yavaş; aralığıyla",
    ),
    "field_accuracy": (
        "field accuracy",
        "sahadaki doğruluk",
        "how often people said that an answer was right",
        "insanların bir yanıta doğru deme oranı",
    ),
    "test_accuracy": (
        "test accuracy",
        "test doğruluğu",
        "the accuracy on pictures that training never saw",
        "eğitimin hiç görmediği resimlerdeki doğruluk",
    ),
    "tab_quantization": (
        "quantization",
        "nicemleme",
        "weights and activations as 8-bit whole numbers",
        "ağırlıkların ve etkinleşmelerin 8 bitlik tam sayılarla yazılması",
    ),
    "operators": (
        "operator",
        "işleç",
        "one step of the network's graph",
        "ağ çizgesinin bir adımı",
    ),
    "layer": ("layer", "katman", "one step of the network", "ağın bir adımı"),
    "probability": (
        "probability",
        "olasılık",
        "how sure the model says it is; not a confidence interval",
        "modelin kendine ne kadar güvendiği; güven aralığı değildir",
    ),
    "episode_return": (
        "episode's return, in reinforcement learning",
        "pekiştirmeli öğrenmede bölümün toplam ödülü",
        "the sum of the rewards until the episode ends",
        "bölüm bitene kadar toplanan ödüllerin toplamı",
    ),
    "queue": ("queue", "kuyruk", "waiting for a free place on the server", "sunucuda boş yer beklemek"),
    "inference": ("inference", "çıkarım", "the network's own computation", "ağın kendi hesabı"),
}
_COURSE = {"episode_return": "güç kullanarak öğrenme, takviyeli öğrenme"}
TERMS = {
    word: Term(f"term_{word}", english, turkish, (means, means_tr), _COURSE.get(word, ""))
    for word, (english, turkish, means, means_tr) in _ROWS.items()
}
TEXTS = {term.key: term.texts for term in TERMS.values()}
