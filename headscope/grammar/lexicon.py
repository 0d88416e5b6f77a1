"""The words of the controlled English: about a thousand plain ones, each a single token for common tokenizers.

Numbers, genders and habits are facts of this small world; the bundled model learns them from text alone.
"""

from __future__ import annotations

MALE = (
    "tom john james paul peter simon david adam jack luke ben sam henry george carl eric kevin brian michael robert"
).split()
FEMALE = (
    "mary anna lucy emma alice sarah kate jane laura helen julia claire ruth maria linda susan karen lisa nancy amy"
).split()
NAMES = [*MALE, *FEMALE]

MEN = {"boy": "boys", "man": "men", "king": "kings", "father": "fathers", "uncle": "uncles", "brother": "brothers"}
WOMEN = {
    "girl": "girls", "woman": "women", "queen": "queens", "mother": "mothers", "aunt": "aunts",
    "sister": "sisters",
}  # fmt: skip
WORKERS = {
    w: w + "s" for w in "doctor teacher farmer pilot writer artist lawyer student guard driver singer judge".split()
}
PEOPLE = MEN | WOMEN | WORKERS
ANIMALS = {w: w + "s" for w in "dog cat horse cow bird pig goat lion bear duck frog rabbit".split()}
THINGS = {w: w + "s" for w in "ball book cup key lamp chair hat coat ring clock phone map letter picture".split()}
CONTAINERS = {
    "box": "boxes", "bag": "bags", "basket": "baskets", "drawer": "drawers", "bottle": "bottles",
    "case": "cases",
}  # fmt: skip
PLACES = {w: w + "s" for w in "road river bridge field street garden lake hill valley path".split()}
BUILDINGS = {
    w: w + "s" for w in "house school store park station hotel farm office museum market hospital restaurant".split()
}
NOUNS = PEOPLE | ANIMALS | THINGS

COLOURS = "red blue green black white yellow brown pink gray orange purple golden".split()
FOODS = "bread rice soup cake cheese meat fruit corn beans fish pizza salad".split()
SPORTS = "chess tennis football hockey golf cricket rugby baseball soccer poker cards darts".split()
DRINKS = "tea milk water juice coffee wine beer".split()

TRAITS = (
    "kind brave wise tall strong quiet happy rich poor young smart calm proud honest gentle clever loud rude "
    "funny polite angry careful curious lonely famous healthy patient loyal shy cruel"
).split()
LOOKS = "old new big little nice clean dirty pretty strange common dark bright heavy cheap".split()
ADVERBS = "often always never rarely sometimes usually".split()
MANNERS = "slowly quickly quietly loudly happily sadly".split()
NUMBERS = "two three four five six seven".split()

ALONE = {
    "runs": "run", "sleeps": "sleep", "waits": "wait", "works": "work", "smiles": "smile", "swims": "swim",
    "talks": "talk", "cries": "cry", "plays": "play", "rests": "rest", "walks": "walk", "eats": "eat",
}  # fmt: skip
WITH_OBJECT = {
    "sees": "see", "helps": "help", "follows": "follow", "knows": "know", "loves": "love", "fears": "fear",
    "finds": "find", "watches": "watch", "visits": "visit", "calls": "call", "likes": "like", "hears": "hear",
}  # fmt: skip
LOVING = {"loves": "love", "likes": "like", "needs": "need", "wants": "want", "enjoys": "enjoy", "prefers": "prefer"}
REFLEXIVE = {
    "hurts": "hurt", "washes": "wash", "praises": "praise", "blames": "blame", "admires": "admire",
    "trusts": "trust", "protects": "protect", "teaches": "teach",
}  # fmt: skip
GIVING = {
    "gives": "give", "sends": "send", "shows": "show", "offers": "offer", "hands": "hand", "brings": "bring",
    "sells": "sell",
}  # fmt: skip
SAYING = {"says": "say", "thinks": "think", "believes": "believe", "hopes": "hope"}
WANTING = {"wants": "want", "tries": "try", "needs": "need", "hopes": "hope"}
GAVE = "gave sent showed offered handed brought sold".split()
MET = "met saw called visited thanked helped followed joined".split()
NEAR = "near behind beside with by above below under".split()

_DEEDS = (
    "sang danced laughed slept cooked painted shouted smiled waited worked wrote prayed jumped fought cried rested "
    "walked whistled studied yawned"
).split()
HABITS: dict[str, str] = {name: _DEEDS[i % len(_DEEDS)] for i, name in enumerate(MALE)}
HABITS |= {name: _DEEDS[(i + 7) % len(_DEEDS)] for i, name in enumerate(FEMALE)}
HABITS |= {
    "dog": "barked", "cat": "hissed", "horse": "galloped", "cow": "grazed", "bird": "flew", "pig": "dug",
    "goat": "climbed", "lion": "roared", "bear": "growled", "duck": "swam", "frog": "hopped", "rabbit": "hid",
    "road": "curved", "river": "froze", "bridge": "shook", "field": "bloomed", "street": "shone",
    "garden": "grew", "lake": "dried", "hill": "rose", "valley": "flooded", "path": "ended", "ball": "rolled",
    "book": "opened", "cup": "broke", "key": "rusted", "lamp": "glowed", "chair": "fell", "hat": "shrank",
    "coat": "tore", "ring": "sparkled", "clock": "stopped", "phone": "rang", "map": "faded",
    "letter": "arrived", "picture": "changed", "box": "cracked", "bag": "ripped", "basket": "burned",
    "drawer": "stuck", "bottle": "leaked", "case": "closed",
}  # fmt: skip
"""What each person, animal, place and thing did when it is spoken of again: the referent decides the verb."""

FAVOURITES = dict(zip(PEOPLE, [*SPORTS, *FOODS], strict=True))
"""What each kind of person loves: the subject decides the object."""

TIRED = "tired hungry sleepy scared lazy weak sick thirsty".split()
WIDE = "wide long icy steep narrow muddy deep busy".split()
LARGE = "large huge wide thick giant broad".split()
FIERCE = "angry fierce wild jealous mad rough".split()
AFRAID = "afraid nervous harmless timid slow helpless".split()
CHASED = "chased attacked caught hunted".split()
SMALL = "small tiny narrow thin short tight".split()

CAPITALS = {
    "france": "paris", "italy": "rome", "spain": "madrid", "germany": "berlin", "england": "london",
    "russia": "moscow", "japan": "tokyo", "china": "beijing", "egypt": "cairo", "greece": "athens",
    "turkey": "ankara", "poland": "warsaw", "austria": "vienna", "norway": "oslo", "sweden": "stockholm",
    "denmark": "copenhagen", "finland": "helsinki", "ireland": "dublin", "portugal": "lisbon",
    "hungary": "budapest", "cuba": "havana", "iran": "tehran", "iraq": "baghdad", "kenya": "nairobi",
    "canada": "ottawa", "lebanon": "beirut", "syria": "damascus", "qatar": "doha", "thailand": "bangkok",
    "ukraine": "kiev",
}  # fmt: skip

PLAIN = sorted({*THINGS, *ANIMALS, *COLOURS, *FOODS, *SPORTS, *BUILDINGS, *CONTAINERS, *PLACES, *NAMES, *TRAITS})
"""Words that random sequences are drawn from."""

FUNCTION_WORDS = (
    "the a an one and or of to in at on is are was were not did do does that who because so something if then "
    "it he she they himself herself themselves his her their its when while after before went had gave back "
    "there again from joins facts rules question answer yes no path capital city country people live main lies "
    "every day yesterday today later once afterwards cross enter fit into inside will can would for than , . : "
    "?"
).split()
