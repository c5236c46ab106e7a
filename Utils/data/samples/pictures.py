"""Generated German picture descriptions with English translations: the sample that replaces the real captions.

The German sentences follow the grammar. Gender, case and number decide articles and endings. The verb comes second and
agrees with its subject. A prefix such as `hoch` or `an` goes to the end, and so does the verb of a relative clause.
Each German sentence has exactly one English sentence and vice versa, so both directions can be learned.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import numpy as np

VERSION = 1  # goes into the name of the cached corpus: raise it with any change that alters a line
LANGUAGES = ("de", "en")
SIZES = {"train": 3_000, "val": 200, "test": 300}
SEED = 20_160_812
LEAST = 5  # times that each word of the other splits is in the training split, on its side
LONGEST = 15  # words of a German sentence

# Endings by gender ("p": plural) in nominative, accusative, dative: of "ein" and of an adjective after it, or, in the
# plural, after a number or nothing.
ARTICLES = {"m": ("ein", "einen", "einem"), "f": ("eine", "eine", "einer"), "n": ("ein", "ein", "einem")}
ENDINGS = {"m": ("er", "en", "en"), "f": ("e", "e", "en"), "n": ("es", "es", "en"), "p": ("e", "e", "en")}
RELATIVES = {"m": "der", "f": "die", "n": "das", "p": "die"}
NOMINATIVE, ACCUSATIVE, DATIVE = range(3)  # columns of these tables
SEVERAL = {"zwei": "two", "drei": "three", "vier": "four", "mehrere": "several", "viele": "many"}

Pair = tuple[str, str]  # German, English


class Noun(NamedTuple):
    """A noun. weak: masculine, with the plural's form in all cases except the nominative (der Junge, den Jungen)."""

    singular: str
    gender: str
    plural: str
    english: str
    englishes: str
    weak: bool

    def form(self, case: int, plural: bool) -> str:
        """Return the German noun in that case and number."""
        if not plural:
            return self.plural if self.weak and case != NOMINATIVE else self.singular
        return self.plural + ("n" if case == DATIVE and self.plural[-1] not in "ns" else "")


class Verb(NamedTuple):
    """A verb and its possible objects in `case`; a verb like `tanzt` has none.

    own: a word that belongs to the verb, or "". It comes before the object if `directed` (`läuft durch einen Wald`),
    else at the end of the clause (`hält ein Schild hoch`, `spielt Fußball`).
    """

    singular: str
    plural: str
    own: str
    english: str
    case: int
    objects: tuple[Noun, ...]
    directed: bool


def _nouns(table: str) -> dict[str, Noun]:
    """Return the nouns of a table by German singular.

    Columns: singular, gender (w: weak), plural, English, English plural.
    """
    rows = (item.split() for item in table.split(","))
    return {row[0]: Noun(row[0], row[1].replace("w", "m"), row[2], row[3], row[4], row[1] == "w") for row in rows}


def _pairs(text: str) -> list[Pair]:
    """Return the pairs of a list `German = English, ...`."""
    sides = (item.split("=") for item in text.split(","))
    return [(german.strip(), english.strip()) for german, english in sides]


ADULTS = _nouns("""
    Mann m Männer man men, Frau f Frauen woman women, Arbeiter m Arbeiter worker workers,
    Polizist w Polizisten policeman policemen, Sängerin f Sängerinnen singer singers,
    Student w Studenten student students, Lehrerin f Lehrerinnen teacher teachers,
    Künstler m Künstler artist artists""")
CHILDREN = _nouns("""
    Kind n Kinder child children, Junge w Jungen boy boys, Mädchen n Mädchen girl girls""")
ANIMALS = _nouns("""
    Hund m Hunde dog dogs, Katze f Katzen cat cats, Pferd n Pferde horse horses, Ziege f Ziegen goat goats""")
CLOTHES = _nouns("""
    Hemd n Hemden shirt shirts, Jacke f Jacken jacket jackets, Mantel m Mäntel coat coats,
    Pullover m Pullover jumper jumpers, T-Shirt n T-Shirts T-shirt T-shirts, Hut m Hüte hat hats,
    Mütze f Mützen cap caps, Schal m Schals scarf scarves""")
THINGS = _nouns("""
    Ball m Bälle ball balls, Buch n Bücher book books, Zeitung f Zeitungen newspaper newspapers,
    Brief m Briefe letter letters, Apfel m Äpfel apple apples, Banane f Bananen banana bananas,
    Kuchen m Kuchen cake cakes, Blume f Blumen flower flowers, Korb m Körbe basket baskets,
    Kiste f Kisten box boxes, Schild n Schilder sign signs, Fahne f Fahnen flag flags,
    Bild n Bilder picture pictures, Fahrrad n Fahrräder bicycle bicycles, Wagen m Wagen cart carts,
    Schlitten m Schlitten sledge sledges, Stuhl m Stühle chair chairs, Rucksack m Rucksäcke backpack backpacks,
    Tasche f Taschen bag bags, Regenschirm m Regenschirme umbrella umbrellas, Auto n Autos car cars,
    Haus n Häuser house houses, Gebäude n Gebäude building buildings, Kirche f Kirchen church churches,
    Brücke f Brücken bridge bridges, Zaun m Zäune fence fences, Mauer f Mauern wall walls, Baum m Bäume tree trees,
    Bank f Bänke bench benches, Brunnen m Brunnen fountain fountains, Felsen m Felsen rock rocks,
    Bach m Bäche stream streams, Tunnel m Tunnel tunnel tunnels, See m Seen lake lakes, Wald m Wälder forest forests""")
NOUNS = ADULTS | CHILDREN | ANIMALS | CLOTHES | THINGS

COLOURS = _pairs("rot=red, blau=blue, grün=green, gelb=yellow, weiß=white, schwarz=black, grau=grey, braun=brown")
OF_ANY = _pairs("groß=big, klein=small")
OF_MADE = _pairs("groß=big, klein=small, alt=old, neu=new")
OF_ADULTS = _pairs("jung=young, alt=old, groß=tall, lächelnd=smiling")
OF_CHILDREN = _pairs("klein=little, fröhlich=cheerful, lächelnd=smiling")
OF_ANIMALS = _pairs("groß=big, schwarz=black, weiß=white, braun=brown")
PLAIN = "Apfel Banane Kuchen Baum Felsen Bach See Wald"  # things of any size, but neither new nor blue
MADE = "Haus Gebäude Kirche Brücke Mauer Brunnen Tunnel Bild Buch Zeitung Brief Schild"

WORN_IN, WORN_WITH = "Hemd Jacke Mantel Pullover T-Shirt", "Hut Mütze Schal Rucksack Tasche Regenschirm"
PLACES = _pairs("""im Park=in the park, am Strand=on the beach, auf der Straße=in the street, im Garten=in the garden,
    auf dem Markt=at the market, am Fluss=by the river, im Schnee=in the snow, auf der Wiese=in the meadow,
    auf dem Spielplatz=at the playground, im Hof=in the yard, am Bahnhof=at the station, im Regen=in the rain""")
AROUND = {  # prepositions of rest, with the dative, and what stands there
    ("vor", "in front of"): "Haus Gebäude Kirche Brunnen Mauer Auto",
    ("neben", "next to"): "Baum Auto Brunnen Fahrrad Bank Kirche Zaun",
    ("hinter", "behind"): "Haus Zaun Mauer Auto Gebäude",
    ("unter", "under"): "Baum Brücke",
    ("auf", "on"): "Bank Mauer Felsen Brücke",
}
AT_REST = """steht stehen - = standing, sitzt sitzen - = sitting, liegt liegen - = lying, schläft schlafen - = sleeping,
    wartet warten - = waiting, wacht wachen auf = waking up"""
OF_PEOPLE = """tanzt tanzen - = dancing, singt singen - = singing, lacht lachen - = laughing, spielt spielen Fußball
    = playing football, spielt spielen Gitarre = playing the guitar, fährt fahren Fahrrad = cycling"""
WITH_OBJECT = {  # accusative, unless the line begins with "+"
    "liest lesen - = reading": "Buch Zeitung Brief",
    "hält halten - = holding": "Ball Blume Korb Regenschirm Apfel",
    "hält halten hoch = holding up": "Schild Fahne Bild Ball",
    "hebt heben auf = picking up": "Ball Blume Korb Tasche",
    "wirft werfen - = throwing": "Ball",
    "isst essen - = eating": "Apfel Banane Kuchen",
    "trägt tragen - = carrying": "Kiste Korb Stuhl Tasche",
    "schiebt schieben - = pushing": "Wagen Fahrrad",
    "zieht ziehen - = pulling": "Wagen Schlitten",
    "malt malen - = painting": "Bild Blume Haus",
    "kauft kaufen - = buying": "Blume Buch Kuchen Hut",
    "schaut schauen an = looking at": "Bild Haus Kirche Brunnen",
    "probiert probieren an = trying on": "Jacke Mantel Hut Mütze",
    "füttert füttern - = feeding": "Hund Katze Pferd Ziege",
    "+hilft helfen - = helping": "Mann Frau Kind Junge Mädchen",
    "+sieht sehen zu = watching": "Polizist Sängerin Künstler Hund Pferd",
    "+folgt folgen - = following": "Hund Katze Mann Frau Student",
}
MOVING = {  # prepositions of direction, with the accusative
    "läuft laufen durch = running through": "Wald Tunnel",
    "läuft laufen über = running across": "Brücke",
    "geht gehen durch = walking through": "Wald Tunnel",
    "geht gehen über = walking across": "Brücke",
    "springt springen über = jumping over": "Zaun Mauer Bach",
    "springt springen in = jumping into": "See Bach",
    "klettert klettern auf = climbing onto": "Felsen Mauer Wagen",
}


def _verb(entry: str, objects: str = "", directed: bool = False) -> Verb:
    """Return the verb of a table entry: `third person singular, plural, own word or - = English`."""
    german, english = (side.strip() for side in entry.removeprefix("+").split("="))
    singular, plural, own = german.split()
    case = DATIVE if entry.startswith("+") else ACCUSATIVE
    taken = tuple(NOUNS[noun] for noun in objects.split())
    return Verb(singular, plural, own.strip("-"), english, case, taken, directed)


PEOPLE = [*ADULTS.values(), *CHILDREN.values()]
ALL = [*PEOPLE, *ANIMALS.values()]
CLAUSES = (  # (how likely, verbs, who does it, how likely is a place)
    (0.45, [_verb(*item) for item in WITH_OBJECT.items()], PEOPLE, 0.4),
    (0.15, [_verb(*item, directed=True) for item in MOVING.items()], ALL, 0.0),
    (0.20, [_verb(entry) for entry in OF_PEOPLE.split(",")], PEOPLE, 1.0),
    (0.20, [_verb(entry) for entry in AT_REST.split(",")], ALL, 1.0),
)


class _Writer:
    """A writer of sentence pairs. It holds the random generator, so one object writes one corpus."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.Generator(np.random.PCG64(seed))

    def maybe(self, chance: float) -> bool:
        """Return True with probability `chance`."""
        return self.rng.random() < chance

    def one(self, items: Iterable) -> Any:
        """Draw one item."""
        items = list(items)
        return items[int(self.rng.integers(len(items)))]

    def phrase(self, noun: Noun, case: int, adjective: Pair = ("", ""), count: Pair | None = None) -> Pair:
        """Return a phrase such as `einen roten Hut`.

        With a count it is plural: `zwei rote Hüte`, or `rote Hüte` for ("", "").
        """
        plural = count is not None
        german, english = adjective
        if german:
            german += ENDINGS["p" if plural else noun.gender][case]
        english = f"{english} {noun.englishes if plural else noun.english}".strip()
        count = count or (("", "") if plural else (ARTICLES[noun.gender][case], "an" if english[0] in "aeiou" else "a"))
        return " ".join(f"{count[0]} {german} {noun.form(case, plural)}".split()), f"{count[1]} {english}".strip()

    def adjective(self, noun: Noun) -> Pair:
        """Draw an adjective that fits the noun, or none."""
        if not self.maybe(0.4):
            return "", ""
        groups: list[tuple[Collection[str], list[Pair]]]
        groups = [(ADULTS, OF_ADULTS), (CHILDREN, OF_CHILDREN), (ANIMALS, OF_ANIMALS)]
        groups += (PLAIN.split(), OF_ANY), (MADE.split(), OF_MADE)
        return self.one(next((words for nouns, words in groups if noun.singular in nouns), COLOURS))

    def worn(self, noun: Noun, plural: bool) -> Pair:
        """Return worn clothes: `, der einen roten Hut trägt,`, `in einem roten Hemd` or `mit einem roten Hut`."""
        form = self.rng.random()
        clause = form < 0.25
        names = " ".join(CLOTHES) if clause else WORN_IN if form < 0.65 else WORN_WITH
        cloth = NOUNS[self.one(names.split())]
        case, count = ACCUSATIVE if clause else DATIVE, ("", "") if plural else None
        german, english = self.phrase(cloth, case, self.one(COLOURS), count)
        if not clause:
            link = ("in", "in") if names == WORN_IN else ("mit", "with")
            return f" {link[0]} {german}", f" {link[1]} {english}"
        who, finite, does = (RELATIVES["p"], "tragen", "are") if plural else (RELATIVES[noun.gender], "trägt", "is")
        return f", {who} {german} {finite},", f" who {does} wearing {english}"

    def subject(self, nouns: list[Noun]) -> tuple[str, str, bool, Noun]:
        """Return a subject: (German, English, whether the verb is plural, the noun)."""
        noun, form = self.one(nouns), self.rng.random()
        human = noun.singular not in ANIMALS
        if form < 0.07:
            other = self.one(known for known in nouns if known != noun)
            sides = [self.phrase(each, NOMINATIVE) for each in (noun, other)]
            return " und ".join(side[0] for side in sides), " and ".join(side[1] for side in sides), True, noun
        if form < 0.14 and human:
            german, english = self.phrase(noun, DATIVE, self.adjective(noun), ("", ""))
            return f"eine Gruppe von {german}", f"a group of {english}", False, noun
        plural = form < 0.4
        count = self.one(SEVERAL.items()) if plural else None
        german, english = self.phrase(noun, NOMINATIVE, self.adjective(noun), count)
        worn = self.worn(noun, plural) if human and self.maybe(0.35) else ("", "")
        return german + worn[0], english + worn[1], plural, noun

    def place(self) -> Pair:
        """Draw a place, such as `im Park`."""
        if self.maybe(0.6):
            return self.one(PLACES)
        prepositions, names = self.one(AROUND.items())
        noun = NOUNS[self.one(names.split())]
        german, english = self.phrase(noun, DATIVE, self.adjective(noun))
        return f"{prepositions[0]} {german}", f"{prepositions[1]} {english}"

    def sentence(self) -> Pair:
        """Return (German, English). In German the verb is second; the place goes before the object or to the front."""
        _, verbs, nouns, placed = CLAUSES[int(self.rng.choice(len(CLAUSES), p=[clause[0] for clause in CLAUSES]))]
        verb = self.one(verbs)
        german, english, plural, noun = self.subject(nouns)
        finite, does = (verb.plural, f"are {verb.english}") if plural else (verb.singular, f"is {verb.english}")
        rest = [verb.own]
        if verb.objects:
            taken = self.one(known for known in verb.objects if known != noun)
            count = self.one(SEVERAL.items()) if not verb.directed and self.maybe(0.12) else None
            what = self.phrase(taken, verb.case, self.adjective(taken), count)
            rest = [verb.own, what[0]] if verb.directed else [what[0], verb.own]
            does = f"{does} {what[1]}"
        where = self.place() if self.maybe(placed) else ("", "")
        if where[0] and self.maybe(0.25):
            words, english = [where[0], finite, german, *rest], f"{where[1]}, {english} {does}"
        else:
            words, english = [german, finite, where[0], *rest], f"{english} {does} {where[1]}".strip()
        return _written(" ".join(filter(None, words))), _written(english)


def _written(sentence: str) -> str:
    """Add a capital letter and a full stop, which replaces the last comma of a relative clause."""
    return f"{sentence[0].upper()}{sentence[1:].rstrip(',')}."


def _words(pair: Pair) -> list[list[str]]:
    """Return the words of each side, without punctuation."""
    return [side.rstrip(".").replace(",", "").split() for side in pair]


def generate() -> dict[str, list[Pair]]:
    """Return (German, English) pairs by split, "train", "val" and "test" of `SIZES`.

    No German sentence occurs twice.
    """
    writer = _Writer(SEED)
    seen: set[str] = set()
    counts: tuple[Counter, Counter] = (Counter(), Counter())
    corpus: dict[str, list[Pair]] = {}
    for split, size in SIZES.items():
        corpus[split] = []
        while len(corpus[split]) < size:
            pair = writer.sentence()
            words = _words(pair)
            if pair[0] in seen or len(words[0]) > LONGEST:
                continue
            if split == "train":
                for count, side in zip(counts, words, strict=True):
                    count.update(side)
            elif any(count[word] < LEAST for count, side in zip(counts, words, strict=True) for word in side):
                continue
            seen.add(pair[0])
            corpus[split].append(pair)
    return corpus
