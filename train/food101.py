"""Food-101 as a folder `train|test / label / file`, downloaded by torchvision and checked by its hash.

101,000 photographs of 101 dishes, 750 training and 250 test pictures each (Bossard, Guillaumin and Van Gool, 2014).
The training side was left uncleaned on purpose: some of its labels are wrong. 5 GB.

>>> len(TURKISH), TURKISH["steak"]
(101, 'biftek')
"""

from __future__ import annotations

import tempfile
import urllib.error
from pathlib import Path

from edge_runtime.errors import Missing
from edge_runtime.store import sha256_of

TURKISH = {
    "apple_pie": "elmalı turta",
    "baby_back_ribs": "domuz kaburga",
    "baklava": "baklava",
    "beef_carpaccio": "dana carpaccio",
    "beef_tartare": "tartar biftek",
    "beet_salad": "pancar salatası",
    "beignets": "beignet",
    "bibimbap": "bibimbap",
    "bread_pudding": "ekmek pudingi",
    "breakfast_burrito": "kahvaltı burritosu",
    "bruschetta": "bruschetta",
    "caesar_salad": "sezar salata",
    "cannoli": "cannoli",
    "caprese_salad": "kaprese salata",
    "carrot_cake": "havuçlu kek",
    "ceviche": "ceviche",
    "cheese_plate": "peynir tabağı",
    "cheesecake": "cheesecake",
    "chicken_curry": "körili tavuk",
    "chicken_quesadilla": "tavuklu quesadilla",
    "chicken_wings": "tavuk kanadı",
    "chocolate_cake": "çikolatalı kek",
    "chocolate_mousse": "çikolatalı mus",
    "churros": "churros",
    "clam_chowder": "deniz tarağı çorbası",
    "club_sandwich": "kulüp sandviç",
    "crab_cakes": "yengeç köftesi",
    "creme_brulee": "krem brüle",
    "croque_madame": "croque madame",
    "cup_cakes": "cupcake",
    "deviled_eggs": "dolma yumurta",
    "donuts": "donut",
    "dumplings": "çin mantısı",
    "edamame": "edamame",
    "eggs_benedict": "benedict yumurta",
    "escargots": "salyangoz",
    "falafel": "falafel",
    "filet_mignon": "bonfile",
    "fish_and_chips": "balık ve patates kızartması",
    "foie_gras": "kaz ciğeri",
    "french_fries": "patates kızartması",
    "french_onion_soup": "fransız soğan çorbası",
    "french_toast": "yumurtalı ekmek",
    "fried_calamari": "kalamar tava",
    "fried_rice": "kızarmış pilav",
    "frozen_yogurt": "donmuş yoğurt",
    "garlic_bread": "sarımsaklı ekmek",
    "gnocchi": "gnocchi",
    "greek_salad": "yunan salatası",
    "grilled_cheese_sandwich": "peynirli tost",
    "grilled_salmon": "ızgara somon",
    "guacamole": "guacamole",
    "gyoza": "gyoza",
    "hamburger": "hamburger",
    "hot_and_sour_soup": "acılı ekşili çorba",
    "hot_dog": "sosisli sandviç",
    "huevos_rancheros": "huevos rancheros",
    "hummus": "humus",
    "ice_cream": "dondurma",
    "lasagna": "lazanya",
    "lobster_bisque": "ıstakoz çorbası",
    "lobster_roll_sandwich": "ıstakozlu sandviç",
    "macaroni_and_cheese": "peynirli makarna",
    "macarons": "makaron",
    "miso_soup": "miso çorbası",
    "mussels": "midye",
    "nachos": "nachos",
    "omelette": "omlet",
    "onion_rings": "soğan halkası",
    "oysters": "istiridye",
    "pad_thai": "pad thai",
    "paella": "paella",
    "pancakes": "pankek",
    "panna_cotta": "panna cotta",
    "peking_duck": "pekin ördeği",
    "pho": "pho",
    "pizza": "pizza",
    "pork_chop": "domuz pirzolası",
    "poutine": "poutine",
    "prime_rib": "dana kaburga",
    "pulled_pork_sandwich": "didiklenmiş domuz etli sandviç",
    "ramen": "ramen",
    "ravioli": "ravioli",
    "red_velvet_cake": "kırmızı kadife kek",
    "risotto": "risotto",
    "samosa": "samosa",
    "sashimi": "saşimi",
    "scallops": "deniz tarağı",
    "seaweed_salad": "yosun salatası",
    "shrimp_and_grits": "karidesli mısır lapası",
    "spaghetti_bolognese": "bolonez soslu spagetti",
    "spaghetti_carbonara": "karbonara soslu spagetti",
    "spring_rolls": "çin böreği",
    "steak": "biftek",
    "strawberry_shortcake": "çilekli pasta",
    "sushi": "suşi",
    "tacos": "tako",
    "takoyaki": "takoyaki",
    "tiramisu": "tiramisu",
    "tuna_tartare": "ton balığı tartar",
    "waffles": "waffle",
}


def write_food101(folder: Path) -> None:
    """Writes `train|test / label / file` into an empty folder; a training picture that is also a test is left out.

    Raises:
        Missing: it cannot be downloaded.
    """
    from torchvision.datasets import Food101

    with tempfile.TemporaryDirectory(dir=folder.parent) as kept:
        try:
            splits = {split: Food101(kept, split=split, download=True) for split in ("test", "train")}
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise Missing(
                f"Food-101 cannot be downloaded ({error}); a folder at hand with train/LABEL/ and test/LABEL/ is "
                "taken from LOKMA_DATA/food101, and `lokma train multiclass-digits` needs no network"
            ) from error
        seen: set[str] = set()
        for split, pictures in splits.items():
            for source in pictures._image_files:
                content = sha256_of(source)
                if split == "test":
                    seen.add(content)
                elif content in seen:
                    continue
                target = folder / split / source.parent.name / source.name
                target.parent.mkdir(parents=True, exist_ok=True)
                source.replace(target)
