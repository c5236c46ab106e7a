"""Generated German picture descriptions with English translations: the sample that replaces the real captions.

The German sentences follow the grammar. Gender, case and number decide articles and endings. The verb comes second and
agrees with its subject. A prefix such as `hoch` or `an` goes to the end, and so does the verb of a relative clause.
Each German sentence has exactly one English sentence and vice versa, so both directions can be learned.
"""

import tomllib
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
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


GRAMMAR = tomllib.loads(Path(__file__).with_name("pictures.toml").read_text(encoding="utf-8"))
ADULTS, CHILDREN, ANIMALS, CLOTHES, THINGS = (
    _nouns(GRAMMAR[name]) for name in ("adults", "children", "animals", "clothes", "things")
)
NOUNS = ADULTS | CHILDREN | ANIMALS | CLOTHES | THINGS

COLOURS, OF_ANY, OF_MADE, OF_ADULTS, OF_CHILDREN, OF_ANIMALS, PLACES = (
    _pairs(GRAMMAR[name])
    for name in ("colours", "of_any", "of_made", "of_adults", "of_children", "of_animals", "places")
)
PLAIN, MADE = GRAMMAR["plain"], GRAMMAR["made"]  # of any size, but neither new nor blue; both of these
WORN_IN, WORN_WITH = GRAMMAR["worn_in"], GRAMMAR["worn_with"]
AROUND = {tuple(key.split("=")): value for key, value in GRAMMAR["around"].items()}  # with the dative
AT_REST, OF_PEOPLE = GRAMMAR["at_rest"], GRAMMAR["of_people"]
WITH_OBJECT, MOVING = GRAMMAR["with_object"], GRAMMAR["moving"]  # accusative, unless a verb begins with "+"


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
    (0.45, [_verb(entry, objects) for entry, objects in WITH_OBJECT.items()], PEOPLE, 0.4),
    (0.15, [_verb(entry, objects, directed=True) for entry, objects in MOVING.items()], ALL, 0.0),
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
