"""The generated pictures: German and English that keep their rules, by tables and patterns that are the tests' own."""

import hashlib
import re
from collections import Counter

import pytest

from Utils.data.samples import pictures
from Utils.data.sets import multi30k

# ---- what a reader of German knows -----------------------------------------------------------------------------------

NOUNS = {
    "der": """Mann Arbeiter Polizist Student Künstler Junge Hund Mantel Pullover Hut Schal Ball Brief Apfel Kuchen Korb
        Wagen Schlitten Stuhl Rucksack Regenschirm Zaun Baum Brunnen Felsen Bach Tunnel See Wald Park Strand Garten
        Markt Fluss Schnee Spielplatz Hof Bahnhof Regen""",
    "die": """Frau Sängerin Lehrerin Katze Ziege Jacke Mütze Zeitung Banane Blume Kiste Fahne Tasche Kirche Brücke Mauer
        Bank Gruppe Straße Wiese""",
    "das": "Kind Mädchen Pferd Hemd T-Shirt Buch Schild Bild Fahrrad Auto Haus Gebäude",
}
GENDER = {noun: article for article, nouns in NOUNS.items() for noun in nouns.split()}
WEAK = {"Jungen": "Junge", "Polizisten": "Polizist", "Studenten": "Student"}  # den Jungen, dem Jungen
PLURALS = """Männer Frauen Arbeiter Polizisten Sängerinnen Studenten Lehrerinnen Künstler Kinder Jungen Mädchen Hunde
    Katzen Pferde Ziegen Hemden Jacken Mäntel Pullover T-Shirts Hüte Mützen Schals Bälle Bücher Zeitungen Briefe Äpfel
    Bananen Kuchen Blumen Körbe Kisten Schilder Fahnen Bilder Rucksäcke Taschen Regenschirme Wagen Schlitten
    Fahrräder Stühle Häuser Kirchen Brunnen""".split()
PLURAL_DATIVES = """Männern Frauen Arbeitern Polizisten Sängerinnen Studenten Lehrerinnen Künstlern Kindern Jungen
    Mädchen Hunden Katzen Pferden Ziegen Hemden Jacken Mänteln Pullovern T-Shirts Hüten Mützen Schals Rucksäcken Taschen
    Regenschirmen""".split()
# After ein, eine, einen, einem, einer: the endings of an adjective, as in "ein alter Hund, einen alten Hund".
PHRASES = {
    "nominative": {("ein", "er", "der"), ("eine", "e", "die"), ("ein", "es", "das")},
    "accusative": {("einen", "en", "der"), ("eine", "e", "die"), ("ein", "es", "das")},
    "dative": {("einem", "en", "der"), ("einer", "en", "die"), ("einem", "en", "das")},
}
PLACES = {("im", "der"), ("am", "der"), ("dem", "der"), ("der", "die")}  # im Park, auf der Straße: dative
VERBS = """steht stehen sitzt sitzen liegt liegen schläft schlafen wartet warten wacht wachen tanzt tanzen singt singen
    lacht lachen spielt spielen fährt fahren liest lesen hält halten hebt heben wirft werfen isst essen trägt tragen
    schiebt schieben zieht ziehen malt malen kauft kaufen schaut schauen probiert probieren füttert füttern hilft helfen
    sieht sehen folgt folgen läuft laufen geht gehen springt springen klettert klettern""".split()
SINGULAR, PLURAL = set(VERBS[::2]), set(VERBS[1::2])
DATIVE_VERBS = {"hilft", "helfen", "sieht", "sehen", "folgt", "folgen"}
INTO = {"springt", "springen", "klettert", "klettern"}  # in einen See, auf eine Mauer
LAST = {"hoch": "hält halten", "auf": "hebt heben wacht wachen", "an": "schaut schauen probiert probieren"}
LAST |= {"zu": "sieht sehen", "Fußball": "spielt spielen", "Gitarre": "spielt spielen", "Fahrrad": "fährt fahren"}
NEEDY = {"wacht", "wachen", "fährt", "fahren", "schaut", "schauen"}  # never without such a word
NUMBERS = {"zwei": "two", "drei": "three", "vier": "four", "mehrere": "several", "viele": "many"}
ADJECTIVE = re.compile(
    r"(?:rot|blau|grün|gelb|weiß|schwarz|grau|braun|groß|klein|alt|neu|jung|lächelnd|fröhlich)(e[rsn]?)"
)

BY_HAND = {
    "Ein Mädchen und eine Lehrerin malen eine weiße Blume.": "A girl and a teacher are painting a white flower.",
    "Vor einer alten Kirche fährt ein Junge Fahrrad.": "In front of an old church, a boy is cycling.",
    "Eine Gruppe von Sängerinnen sieht vor einem Brunnen einem jungen Künstler zu.": "A group of singers is watching a "
    "young artist in front of a fountain.",
    "Ein Polizist hält ein Bild hoch.": "A policeman is holding up a picture.",
    "Mehrere junge Männer springen in einen Bach.": "Several young men are jumping into a stream.",
    "Eine Gruppe von Studenten folgt einer Katze.": "A group of students is following a cat.",
    "Ein Polizist, der einen braunen Schal trägt, sieht einem Hund zu.": "A policeman who is wearing a brown scarf is "
    "watching a dog.",
    "Drei kleine Jungen mit grauen Regenschirmen stehen vor einem Haus.": "Three little boys with grey umbrellas are "
    "standing in front of a house.",
}

# A sentence in tags: D ein, A adjective, N noun, Z number, P preposition, T the or im/am, V verb, U und, C comma,
# R relative pronoun, X what belongs to the verb. The verb is second, and in a relative clause it is last.
ONE, SOME, BARE = "DA?N", "ZA?N", "A?N"
SUBJECT = rf"(?:(?:{ONE}|{SOME})(?:P(?:DAN|AN)|CR(?:DAN|AN)VC)?|DNUDN|DNP{BARE})"
PLACE, OBJECT = rf"(?:P?TN|P{ONE})", f"(?:{ONE}|{SOME})"
SENTENCE = re.compile(rf"(?P<plain>{SUBJECT})V(?:{PLACE})?{OBJECT}?X?|(?P<inverted>{PLACE}V{SUBJECT}){OBJECT}?X?")


def words_of(sentence: str) -> list[str]:
    """Words and commas, the first word in lower case unless it is a noun; the full stop is checked and dropped."""
    assert sentence[-1] == "." and sentence[0].isupper() and "  " not in sentence, sentence
    assert not re.search(r"[,.]\.| ,", sentence), sentence
    words = sentence[:-1].replace(",", " ,").split()
    return [words[0].lower(), *words[1:]]


def tags_of(words: list[str]) -> str:
    tags: list[str] = []
    for k, word in enumerate(words):
        before = tags[-1] if tags else ""
        if before == "C" and word in ("der", "die", "das"):
            tag = "R"
        elif k == len(words) - 1 and word in LAST and before not in ("A", "D", "T"):
            tag = "X"
        elif word in ("ein", "eine", "einen", "einem", "einer"):
            tag = "D"
        elif word in NUMBERS:
            tag = "Z"
        elif ADJECTIVE.fullmatch(word):
            tag = "A"
        elif word in GENDER or word in WEAK or word in PLURALS + PLURAL_DATIVES:
            tag = "N"
        elif word in ("im", "am", "dem", "der"):
            tag = "T"
        elif word in ("in", "mit", "von", "vor", "neben", "hinter", "unter", "auf", "durch", "über"):
            tag = "P"
        else:
            tag = {"und": "U", ",": "C"}.get(word) or ("V" if word in SINGULAR | PLURAL else "?")
        tags.append(tag)
    return "".join(tags)


def check_phrases(words: list[str], tags: str, verb: str) -> None:
    """Each noun's article, adjective and form against the tables, in the case that its place in the sentence needs."""
    seen_subject, relative, preposition = False, False, ""
    determiner, ending, seen_verb = "", None, False
    for k, (word, tag) in enumerate(zip(words, tags, strict=True)):
        if tag == "P":
            preposition = word
        elif tag == "R":
            assert word == ("die" if "Z" in tags[:k] else GENDER[words[k - 2]]), words
            relative = True
        elif tag == "V":
            seen_verb, relative = seen_verb or not relative, False
        elif tag in "DZT":
            determiner = word
        elif tag == "A":
            ending = ADJECTIVE.fullmatch(word)[1]  # type: ignore[index]  # its tag says that it is one
        elif tag == "N":
            if determiner in ("im", "am"):
                case = "dative"
            elif preposition:
                directed = preposition in ("durch", "über") or (
                    verb in INTO and seen_verb and preposition in ("in", "auf")
                )
                case = "accusative" if directed else "dative"
            elif relative or seen_subject:
                case = "dative" if verb in DATIVE_VERBS and not relative else "accusative"
            else:
                case = "nominative"
                seen_subject = tags[k + 1 : k + 2] != "U"
            check_phrase(case, determiner, ending, word, words)
            determiner, ending, preposition = "", None, ""


def check_phrase(case: str, determiner: str, ending: str | None, noun: str, words: list[str]) -> None:
    where = f"{case}: {noun} in {' '.join(words)}"
    if determiner in ("im", "am", "dem", "der"):
        assert case == "dative" and (determiner, GENDER[noun]) in PLACES, where
    elif determiner.startswith("ein"):
        if case == "nominative":
            assert noun in GENDER, where
        else:
            assert noun not in WEAK.values(), where
        fitting = [row for row in PHRASES[case] if row[0] == determiner and row[2] == GENDER[WEAK.get(noun, noun)]]
        assert fitting and ending in (None, fitting[0][1]), where
    else:  # a number, or nothing
        assert noun in (PLURAL_DATIVES if case == "dative" else PLURALS), where
        assert ending in (None, "en" if case == "dative" else "e"), where


# ---- the tests -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus():
    return pictures.generate()


@pytest.fixture(scope="module")
def all_pairs(corpus):
    return [pair for rows in corpus.values() for pair in rows]


def test_the_same_pairs_each_time_and_in_each_version(corpus):
    """Whoever changes a line raises VERSION, so that no cached corpus is taken for the new one."""
    assert pictures.generate() == corpus
    text = "\n".join(f"{split}\t{de}\t{en}" for split, rows in corpus.items() for de, en in rows)
    assert (pictures.VERSION, hashlib.sha256(text.encode()).hexdigest()[:16]) == (1, "a876fef991715131")
    assert multi30k.DATASET.sample_version == pictures.VERSION


def test_sizes_and_no_line_twice(corpus, all_pairs):
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 3_000, "val": 200, "test": 300}
    for side in (0, 1):  # a German sentence has one English one, and the other way round
        assert len({pair[side] for pair in all_pairs}) == len(all_pairs) == 3_500


@pytest.mark.parametrize("side", [0, 1])
def test_words_of_the_test_are_well_known_from_training(corpus, side):
    known, asked = (
        Counter(word for pair in corpus[split] for word in re.findall(r"[\w-]+|[,.]", pair[side]))
        for split in ("train", "test")
    )
    assert min(known[word] for word in asked) >= 5
    assert 200 <= len(known) <= 400 and len(asked) > 0.75 * len(known)


def test_lengths(all_pairs):
    lengths = [len(words_of(german)) + 1 for german, _ in all_pairs]
    assert sum(6 <= length <= 12 for length in lengths) > 0.85 * len(lengths)
    assert min(lengths) >= 5 and max(lengths) <= 20


def check_german(sentence: str) -> tuple:
    """Verb second, place and object in order, the verb in the subject's number, every noun phrase in its case.

    Returns (what form the sentence has, is its verb plural).
    """
    words = words_of(sentence)
    tags = tags_of(words)
    # A relative clause at the end of the sentence has lost its second comma to the full stop.
    found = SENTENCE.fullmatch(tags) or SENTENCE.fullmatch(f"{tags}C")
    assert found, (sentence, tags)
    form = found.lastgroup or ""
    subject = found[form]
    verb = words[tags.index("V") if form == "inverted" else len(subject)]
    many = "U" in subject or "Z" in subject
    assert verb in (PLURAL if many else SINGULAR), sentence
    clause = re.search("RD?AN(V)", tags)
    assert clause is None or words[clause.start(1)] == ("tragen" if many else "trägt"), sentence
    check_phrases(words, tags, verb)
    last = words[-1] if tags[-1] == "X" else ""
    assert verb in LAST[last].split() if last else verb not in NEEDY, sentence
    return (form, last != "", "R" in tags, "U" in tags, "NP" in subject, many), many


def test_german_word_order_and_agreement(all_pairs):
    forms = Counter()
    for german, english in all_pairs:
        form, many = check_german(german)
        forms[form] += 1
        assert re.search(r"\b(are|is)\b(?! wearing)", english)[1] == ("are" if many else "is"), english
    assert len(forms) > 20 and {form[0] for form in forms} == {"plain", "inverted"}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Eine Frau liest ein Buch.", "Ein Frau liest ein Buch."),
        ("Ein Mann liest ein Buch.", "Eine Mann liest ein Buch."),
        ("Ein Mann liest einen Brief.", "Ein Mann liest ein Brief."),
        ("Ein Mann liest ein Buch.", "Ein Mann liest einen Buch."),
        ("Ein Mann hilft einem Kind.", "Ein Mann hilft ein Kind."),
        ("Ein Mann hilft einem kleinen Kind.", "Ein Mann hilft einem kleines Kind."),
        ("Ein Mann folgt einem Studenten.", "Ein Mann folgt einem Student."),
        ("Ein Junge folgt einer Frau.", "Ein Jungen folgt einer Frau."),
        ("Ein Mann sieht einem Hund zu.", "Ein Mann sieht einen Hund zu."),
        ("Ein alter Mann liest ein Buch.", "Ein alten Mann liest ein Buch."),
        ("Ein Mann mit einem roten Hut liest ein Buch.", "Ein Mann mit einen roten Hut liest ein Buch."),
        (
            "Ein Mann, der einen roten Hut trägt, liest ein Buch.",
            "Ein Mann, die einen roten Hut trägt, liest ein Buch.",
        ),
        (
            "Ein Mann, der einen roten Hut trägt, liest ein Buch.",
            "Ein Mann, der trägt einen roten Hut, liest ein Buch.",
        ),
        (
            "Zwei Männer, die rote Hüte tragen, lesen ein Buch.",
            "Zwei Männer, die roten Hüten tragen, lesen ein Buch.",
        ),
        ("Zwei Männer, die rote Hüte tragen, lesen ein Buch.", "Zwei Männer, die rote Hüte trägt, lesen ein Buch."),
        ("Zwei Männer lesen ein Buch.", "Zwei Männer liest ein Buch."),
        ("Ein Mann und eine Frau lesen ein Buch.", "Ein Mann und eine Frau liest ein Buch."),
        ("Eine Gruppe von Kindern liest ein Buch.", "Eine Gruppe von Kinder liest ein Buch."),
        ("Eine Gruppe von Kindern liest ein Buch.", "Eine Gruppe von Kindern lesen ein Buch."),
        ("Zwei kleine Kinder lesen ein Buch.", "Zwei kleinen Kinder lesen ein Buch."),
        ("Im Park liest ein Mann ein Buch.", "Im Park ein Mann liest ein Buch."),
        ("Ein Mann hält ein Schild hoch.", "Ein Mann hält hoch ein Schild."),
        ("Ein Mann wacht im Park auf.", "Ein Mann wacht im Park."),
        ("Ein Mann hebt im Park einen Ball auf.", "Ein Mann hebt im Park einen Ball hoch."),
        ("Ein Hund springt in einen See.", "Ein Hund springt in einem See."),
        ("Ein Mann läuft über eine Brücke.", "Ein Mann läuft über einer Brücke."),
        ("Ein Mann sitzt auf einer Bank.", "Ein Mann sitzt auf eine Bank."),
        ("Ein Mann sitzt auf der Straße.", "Ein Mann sitzt auf dem Straße."),
        (
            "Im Schnee lacht ein Mann, der einen roten Hut trägt.",
            "Im Schnee lacht ein Mann, der einen roten Hut trägt,.",
        ),
    ],
)
def test_the_check_sees_what_is_wrong(right, wrong):
    check_german(right)
    with pytest.raises((AssertionError, KeyError)):
        check_german(wrong)


def test_english_articles_and_marks(all_pairs):
    for german, english in all_pairs:
        assert english[0].isupper() and english[-1] == "." and not re.search(r"  | ,|,\.", english), english
        assert all(
            (word[0] in "aeiou") == (article.lower() == "an")
            for article, word in re.findall(r"\b([Aa]n?) (\w+)", english)
        )
        # Numbers are the same on both sides, in one order or the other, and as many nouns have a or an as have ein.
        numbers = [NUMBERS[word] for word in words_of(german) if word in NUMBERS]
        assert sorted(numbers) == sorted(word for word in words_of(english) if word in NUMBERS.values())
        count = sum(word.startswith("ein") for word in words_of(german))
        assert count == len(re.findall(r"\b[Aa]n?\b", english)), (german, english)


def test_some_translations_by_hand(all_pairs):
    known = dict(all_pairs)
    assert {german: known.get(german) for german in BY_HAND} == BY_HAND
