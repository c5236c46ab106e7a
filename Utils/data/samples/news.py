"""Generated news-like texts on four topics, written from templates: the sample that replaces the real news.

Every row has one label (1 World, 2 Sports, 3 Business, 4 Sci/Tech). Its words come from a mixture of the label's own
topic, a neighbouring topic (the business of sports, the politics of science) and all four. In some rows two topics
weigh nearly the same. No model reads these rows reliably, so the task is not trivial. Invented names with Zipf weights
give the vocabulary the long tail of real news.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

VERSION = 1  # goes into the name of the cached corpus: raise it with any change that alters a row

TRAIN_ROWS, TEST_ROWS = 8_000, 1_600
LABELS = (1, 2, 3, 4)
MIN_TOKENS, MAX_TOKENS = 15, 45  # of a row, punctuation marks counted as tokens
SEED = 20_040_817

# Knobs of the difficulty.
AMBIGUOUS_SHARE = 0.08  # of the rows
AMBIGUOUS_OWN = (0.30, 0.55)  # range of the own topic's weight in an ambiguous row
PLAIN_OWN = (0.72, 0.94)  # and in a plain one
UNIFORM_SHARE = 0.06  # weight of "any topic at all", in every row
GENERIC_FRAMES = 0.62  # share of the sentences whose fixed words tell nothing about the topic
SHARED_NAMES = 0.45  # share of the persons that are equally likely in every topic

# How likely each other topic is to be the second topic of a row (rows and columns: World, Sports, Business, Sci/Tech).
NEIGHBOURS = np.array([[0, 2, 4, 3], [4, 0, 4, 1], [3, 2, 0, 5], [3, 1, 5, 0]], dtype=float)

# ---- word lists: ordered from common to rare, because draws are weighted by rank -------------------------------------

THINGS = {
    1: """government election parliament border embassy attack treaty vote ceasefire talk protest bomb sanction
        coalition capital crisis summit militia ballot strike convoy regime province referendum camp village raid
        mandate constitution faction checkpoint tribunal earthquake flood famine uprising coup warhead republic ministry
        deal plot exile mission delegation curfew outpost blockade truce airstrike hurricane bunker barricade grenade
        ransom genocide enclave visa ferry""",
    2: """team game season match goal league final cup title win race record club point victory stadium defeat medal
        injury round playoff contract tournament squad penalty inning bid run touchdown trophy sprint shot pitch
        wicket semifinal marathon qualifier podium homer fixture locker serve hurdle grandstand scoreboard kickoff
        strike test deal ball jersey roster slam whistle backhand dugout helmet bullpen regatta""",
    3: """market company share profit price deal bank stock sale quarter economy rate bid dollar merger cost trade loss
        budget contract fund earning bond job tax forecast debt takeover strike barrel dividend currency refinery
        tariff pension bankruptcy factory payroll export import surplus deficit mortgage buyout audit commodity
        subsidiary shortfall stake boardroom layoff windfall pipeline coupon invoice warehouse brand lawsuit
        franchise ledger benchmark""",
    4: """computer system network phone device virus company study technology chip web mission satellite planet server
        browser spacecraft game laptop engine file sensor program experiment telescope robot launch laboratory genome
        rocket website code patch crater orbit fossil cell vaccine climate download processor database laser gadget
        probe particle comet algorithm antenna enzyme microscope handset firewall glacier battery record test market
        reactor molecule asteroid keyboard inbox""",
}

ROLES = {
    1: """minister president rebel leader soldier militant envoy diplomat hostage refugee general cleric insurgent
        prisoner gunman senator ambassador dissident peacekeeper mediator monarch governor lawyer exile""",
    2: """coach striker player champion captain fan pitcher quarterback defender goalkeeper referee rookie sprinter
        manager winger batsman rival midfielder bowler umpire rower jockey veteran cyclist""",
    3: """investor analyst chairman trader executive shareholder lender broker economist retailer director banker
        auditor creditor insurer regulator employer buyer lawyer leader founder accountant manager supplier""",
    4: """scientist researcher user hacker engineer developer astronaut programmer astronomer physicist biologist
        inventor spammer designer student gamer blogger player geologist founder director chemist doctor expert""",
}

VERBS = {  # all regular, so that the past tense follows from the spelling
    1: """accuse reject condemn attack arrest kill release approve bomb deploy detain impose demand wound invade sign
        negotiate denounce evacuate threaten occupy storm pardon mediate surrender oust besiege shell annex ratify""",
    2: """defeat score play sign trounce outplay clinch miss suspend coach tackle record launch equalise outscore
        thrash relegate outpace dominate edge chase volley sideline intercept overhaul dribble thump rest""",
    3: """raise report acquire trade approve price post cash merge finance warn refinance lower boost downgrade expand
        auction liquidate offload outsource restate divest consolidate hoard reward audit insure stockpile""",
    4: """launch release develop discover test design analyse download detect observe hack patch invent copy upgrade
        simulate clone infect encode digitise decode measure publish calibrate sequence crash unveil film""",
}

ADJECTIVES = {
    1: """political military nuclear foreign armed national interim senior peaceful disputed regional exiled
        humanitarian wounded ethnic rebel-held war-torn diplomatic embattled separatist""",
    2: """final injured unbeaten olympic defending veteran away national second-half seeded home amateur sporting
        record-breaking last-minute winning athletic world-class top-ranked goalless""",
    3: """financial quarterly corporate annual rising economic higher-than-expected fiscal net weak industrial
        outstanding profitable global debt-laden retail struggling commercial cash-rich bearish""",
    4: """new digital wireless scientific online mobile genetic solar experimental global open-source electronic
        high-speed robotic molecular virtual next-generation orbital infected prehistoric""",
}

ACTORS = {
    1: """officials|the prime minister|police|diplomats|the foreign ministry|rebel leaders|witnesses|a spokesman|
        the army|aid workers|human rights groups|the president|hospital sources|peacekeepers""",
    2: """the coach|the captain|team officials|the league|the manager|fans|the champions|a spokesman|selectors|
        the players|the club|organisers|trainers|the visitors""",
    3: """analysts|the company|traders|economists|investors|the central bank|executives|a spokesman|regulators|
        the union|shareholders|the treasury|auditors|dealers""",
    4: """researchers|scientists|the company|engineers|developers|the space agency|security experts|a spokesman|
        biologists|the institute|astronomers|users|programmers|the laboratory""",
}

HEADS = {  # headline frames by topic (0: any); _Writer._fill() decides what fills a slot
    0: """{noun} {verbed} in {place}|{place} {role} to {verb} {nouns}|{surname} {verbed} after {adj} {noun}|
        {adj} {noun} Faces {gadj} {gnoun}|{org} and {org} in {gadj} {gnoun}|{surname}: {noun} Was {gadj}|
        {roles} Look to {verb} {noun}|No {gnoun} on {noun}, Says {surname}|{place} {noun} Brings {gadj} {gnoun}|
        {org} {verbed} {adj} {nouns}|{gadj} {gnoun} for {place} {roles}|Who Will {verb} the {noun}?|
        {surname} to {verb} {place} {noun}|{adj} {roles} {verbed} Again|{noun}, {noun} and {gnoun}""",
    1: """{place} {roles} Killed in {noun} Blast|{few} Dead as {noun} Hits {place}|{place} Vows to {verb} {roles}|
        U.N. Urges {place} to End {noun}|{surname} Sworn In as {noun} Ends""",
    2: """{org} Beat {org} {score}|{surname} Leads {org} Past {org}|{surname} Scores Twice as {noun} Ends|
        {org} Win {adj} {noun}|{surname} Out for {noun} With Knee Trouble""",
    3: """{org} {noun} Rises {few} Pct|Stocks Fall on {noun} Fears|{org} to Buy {org} for ${few} Billion|
        {noun} Prices Hit {gadj} High|{org} Cuts {num} Jobs as {noun} Slips""",
    4: """{org} Unveils {adj} {noun}|Study: {noun} May Help {roles}|{org} Fixes Flaw in {noun}|
        Scientists Find {adj} {noun}|{adj} {noun} Reaches Orbit""",
}

SENTENCES = {
    0: """{person}, the {role} from {place}, {verbed} the {adj} {noun} on {day}.|
        A {adj} {role} in {place} has {verbed} the {gnoun} over {nouns}, {actor} said on {day}.|
        The {noun} was {verbed} {time} after {person} {verbed} a {gadj} {gnoun}.|
        "It is a {gadj} {gnoun} for the {noun}," {surname} said {time}.|
        {Actor} in {place} said they would {verb} the {noun} by the end of {month}.|
        {org} and {org} {verbed} {num} {nouns} {time}, a {gadj} {gnoun} in the {noun}.|
        The {gnoun} of the {noun} is not over, and {actor} {gsaid} that it could take {few} months.|
        {surname}'s {noun} has been {verbed} for the {ordinal} time in {few} years.|
        More than {num} {roles} were {verbed} in {place} {time}, {actor} {gsaid}.|
        {Actor} {gsaid} that {person} had {verbed} the {noun} without any {gnoun}.|
        In {place}, where the {noun} began in {month}, {roles} are still a {gadj} {gnoun}.|
        With the {noun} only {few} days away, {actor} asked {org} to {verb} its {nouns}.|
        {person} wants to {verb} the {noun}, but {actor} {gsaid} it was a {gadj} {gnoun}.|
        There was no {gnoun} from {org}, whose {adj} {nouns} are at the heart of the {odd} {gnoun}.|
        The so-called {odd} {noun} (named after {person}) will be {verbed} on {day}.|
        After a {gadj} {gnoun}, the {roles} in {place} and {place} have to {verb} a {noun}.|
        "We can't {verb} every {noun}," {person} told reporters in {place} on {day}.|
        It's the {ordinal} {gnoun} of its kind since {surname} {verbed} the {odd} {noun} in {month}.|
        {org} said {time} that it will {verb} the {noun} of {person}, its {gadj} {role}.|
        Is the {noun} worth the {gnoun}? {Roles} in {place} have their doubts.""",
    1: """At least {few} people were killed and {few} wounded when a {noun} exploded near {place}, {actor} said.|
        The government of {place} has {verbed} the {adj} {noun}, {actor} said on {day}.|
        {person} won the vote in {place}, but the opposition spoke of a {gadj} {noun}.|
        Troops loyal to {surname} {verbed} a {noun} outside {place} {time}.|
        Peace talks between {place} and {place} ended on {day} without a {noun}.""",
    2: """{person} scored {few} points as {org} beat {org} {score} on {day}.|
        {org} are through to the final after a {score} win over {org} in {place}.|
        {person} will miss the rest of the season with a knee injury, {actor} said.|
        {surname} hit the winner {few} minutes from time to give {org} a {gadj} {noun}.|
        The {adj} {role} from {place} won her {ordinal} {noun} in straight sets on {day}.""",
    3: """Shares of {org} fell {few} percent on {day} after the {role} {verbed} its {adj} outlook.|
        {org} agreed to buy {org} for ${few} billion in cash and stock, {actor} said.|
        Net income rose to ${num} million, or {few} cents a share, from ${num} million a year earlier.|
        Crude oil for {month} delivery settled at ${few} a barrel as {roles} {verbed} the {gnoun}.|
        The central bank of {place} left interest rates alone, and {roles} {verbed} the {noun}.""",
    4: """Researchers at the {odd} laboratory have {verbed} a {adj} {noun} that can {verb} {nouns}.|
        {org} has released a patch for a flaw in its {noun} that lets attackers {verb} {nouns}.|
        The {odd} spacecraft sent back the first pictures of a {adj} {noun} on {day}.|
        The new version of {org}'s software will let {roles} {verb} a {noun}, {actor} said.|
        A gene found in the {noun} may help {roles} {verb} the {gadj} {noun}, a study says.""",
}

GENERIC_NOUNS = """question plan move problem report decision chance effort issue year day week step sign way part
    change result reason answer case moment setback meeting statement idea number group warning start end push choice
    surprise boost pressure doubt test lesson rumour mistake promise threat delay challenge response debate signal
    turn hope fear dispute failure story order claim mystery gamble relief twist verdict blow riddle puzzle echo"""
GENERIC_ADJECTIVES = """big new first major difficult serious long small key early strong bad likely late clear
    hard rare last-ditch surprising important costly risky unexpected painful bitter quiet unusual sudden bold fresh
    fragile heavy modest crucial odd dramatic hasty bleak gloomy stubborn curious welcome sober awkward"""
GENERIC_SAID = "said warned added believed thought hinted insisted argued feared hoped conceded noted stressed quipped"
TIMES = """yesterday|today|late last night|this week|early on {day}|last week|last month|over the weekend|on {day}|
    this morning|earlier this year|in {month}|for the first time|hours ago"""
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
MONTHS = "October September August November July December June January March May April February"
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth"
AGENCIES = "Norwire|AWP|Telex News|Pressline|Canto Press|Ostpress|Meridian"
GIVEN = """John David Michael Maria Peter Anna James Ali Robert Sara Thomas Elena Carlos Mark Yuki Omar Paul Ivan Lucy
    George Wei Hassan Kate Stefan Nadia Luis Andrei Grace Tariq Ingrid Bruno Leila Kofi Marta Hugo Amara Sven Priya
    Diego Noor Felix Tomoko Pavel Aisha Rory Zainab Milos Chiara Emeka Signe"""

# Syllables of the invented names.
ONSETS = "b br d dr f fr g gr h j k kl kr l m n p pr r s sh st t tr v w z ch th sk"
VOWELS = "a e i o u a e i o ai ei ou ia"
CODAS = "n r l s m t k nd rt x"
ENDINGS = {  # last syllables by kind of name (1-4: of a topic's organisations), so that a place sounds like a place
    "surname": "son ov ez ini sky er man ura ic ak elli o ard in berg eau is",
    "place": "grad ville stan ia burg mouth dor pur abad ton field heim osk port land",
    "odd": "ex is on ara us ine ax or ium ella yx ot",
    1: "ah ist front an party",
    2: "ers sters ham stal vale ines",
    3: "corp bank co mart oil air",
    4: "tec soft sys net nova gen labs",
}
ORG_TAILS = {
    1: ["Front", "Party", "Council"],
    2: ["United", "City", "Rovers"],
    3: ["Inc.", "Corp.", "Group"],
    4: ["Labs", "Systems", "Inc."],
}
POOL_SIZES = {"surname": 2_000, "topic surname": 1_200, "place": 1_200, "odd": 2_000, "org": 800}

Draw = Callable[[], Any]  # returns the next random item of a list


def _zipf(count: int, offset: float = 1.5, power: float = 1.0) -> np.ndarray:
    """Return Zipf-Mandelbrot weights of ranks 1..count, float64 [count], summing to 1."""
    weights = (np.arange(1, count + 1) + offset) ** -power
    return weights / weights.sum()


def _stream(rng: np.random.Generator, items: list, weights: np.ndarray | None = None, block: int = 2_048) -> Draw:
    """Return a function that returns the next random item.

    Items are drawn in blocks, because single numpy draws are slow.
    """

    def blocks() -> Iterator[Any]:
        while True:
            yield from (items[i] for i in rng.choice(len(items), size=block, p=weights).tolist())

    return blocks().__next__


def _ranked(rng: np.random.Generator, words: str, separator: str | None = None) -> Draw:
    """Return a stream over a word list (split at blanks, or at `separator`), weighted by rank."""
    items = [" ".join(item.split()) for item in words.split(separator)]
    return _stream(rng, items, _zipf(len(items)))


def _past(verb: str) -> str:
    """Return the past tense of a regular verb."""
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + ("d" if verb.endswith("e") else "ed")


def _plural(noun: str) -> str:
    """Return the plural of a regular noun, or of one that ends in -man."""
    if noun.endswith("man"):
        return noun[:-3] + "men"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def _names(rng: np.random.Generator, kind: str | int, count: int, taken: set[str]) -> list[str]:
    """Return `count` invented names of one kind that are not in `taken`, and add them to it."""
    onset, vowel = _stream(rng, ONSETS.split()), _stream(rng, VOWELS.split())
    coda = _stream(rng, CODAS.split() + [""] * 10)
    ending = _stream(rng, ENDINGS[kind].split())
    longer = _stream(rng, [False, True])
    names: list[str] = []
    while len(names) < count:
        stem = onset() + vowel() + coda() + (onset() + vowel() if longer() else "")
        end = ending()
        # "kaia" + "ia": two vowels meet, so a consonant goes between
        name = (stem + ("r" if stem[-1] in "aeiou" and end[0] in "aeiou" else "") + end).capitalize()
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names


def _either(coin: Draw) -> Draw:
    """A stream of what the streams give that `coin` draws."""
    return lambda: coin()()


def _joined(first: Draw, second: Draw) -> Draw:
    return lambda: first() + second()


def _name_stream(rng: np.random.Generator, names: list[str]) -> Draw:
    """Return a stream of names. The low power gives the flat head and the long tail of real names."""
    return _stream(rng, names, _zipf(len(names), 3.0, 0.7))


def _number_stream(rng: np.random.Generator, end: int) -> Draw:
    """Return a stream of the numbers 2..end-1 in digits, small ones most often."""
    return _stream(rng, [str(n) for n in range(2, end)], _zipf(end - 2, 2.0))


def _slots(rng: np.random.Generator) -> tuple[dict[str, Draw], dict[str, dict[int, Draw]]]:
    """Return the streams that fill the slots of a frame: (streams for every topic, streams by topic)."""
    taken: set[str] = set()
    shared_surnames = _names(rng, "surname", POOL_SIZES["surname"], taken)
    places = _names(rng, "place", POOL_SIZES["place"], taken)
    odd = _names(rng, "odd", POOL_SIZES["odd"], taken)
    scores = [f"{a}-{b}" for a in range(1, 8) for b in range(a)] + [f"{a}-{a - 9}" for a in range(60, 120)]
    anyone = _name_stream(rng, shared_surnames)
    plain = {
        "place": _name_stream(rng, places),
        "odd": _name_stream(rng, odd),
        "given": _ranked(rng, GIVEN),
        "num": _number_stream(rng, 1_000),
        "few": _number_stream(rng, 60),
        "score": _stream(rng, scores),
        "day": _stream(rng, DAYS.split()),
        "month": _ranked(rng, MONTHS),
        "time": _ranked(rng, TIMES, "|"),
        "ordinal": _ranked(rng, ORDINALS),
        "gnoun": _ranked(rng, GENERIC_NOUNS),
        "gsaid": _ranked(rng, GENERIC_SAID),
        "gadj": _ranked(rng, GENERIC_ADJECTIVES),
        "agency": _ranked(rng, AGENCIES, "|"),
    }
    topical: dict[str, dict[int, Draw]] = {}
    for key in ("noun", "role", "verb", "adj", "actor", "surname", "org"):
        topical[key] = {}
    for label in LABELS:
        topical["noun"][label] = _ranked(rng, THINGS[label])
        topical["role"][label] = _ranked(rng, ROLES[label])
        topical["verb"][label] = _ranked(rng, VERBS[label])
        topical["adj"][label] = _ranked(rng, ADJECTIVES[label])
        topical["actor"][label] = _ranked(rng, ACTORS[label], "|")
        own = _name_stream(rng, _names(rng, "surname", POOL_SIZES["topic surname"], taken))
        coin = _stream(rng, [anyone, own], np.array([SHARED_NAMES, 1 - SHARED_NAMES]))
        topical["surname"][label] = _either(coin)
        company = _name_stream(rng, _names(rng, label, POOL_SIZES["org"], taken))
        tail = _stream(rng, [""] * 5 + [" " + end for end in ORG_TAILS[label]])
        topical["org"][label] = _joined(company, tail)
    return plain, topical


class _Writer:
    """A writer of rows. It holds the random streams, so one object writes one corpus."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.plain, self.topical = _slots(self.rng)
        self.heads = {label: _ranked(self.rng, frames, "|") for label, frames in HEADS.items()}
        self.sentences = {label: _ranked(self.rng, frames, "|") for label, frames in SENTENCES.items()}
        self.uniform = _stream(self.rng, np.linspace(0.0, 1.0, 4_096, endpoint=False).tolist())
        cumulative = np.cumsum(NEIGHBOURS / NEIGHBOURS.sum(axis=1, keepdims=True), axis=1)
        self.neighbours = {label: cumulative[label - 1].tolist() for label in LABELS}
        self.bounds: list[tuple[float, int]] = []  # of the row being written: (cumulative weight, topic)

    def _topic(self) -> int:
        """Draw a topic from the mixture of the present row."""
        draw = self.uniform()
        for bound, topic in self.bounds:
            if draw < bound:
                return topic
        return LABELS[int(self.uniform() * len(LABELS))]

    def _fill(self, match: re.Match) -> str:
        """Return the text of one slot, capitalised if the slot's name is."""
        slot = match.group(1)
        key = slot.lower()
        if key == "person":
            text = f"{self.plain['given']()} {self.topical['surname'][self._topic()]()}"
        elif key in ("nouns", "roles"):
            text = _plural(self.topical[key[:-1]][self._topic()]())
        elif key == "verbed":
            text = _past(self.topical["verb"][self._topic()]())
        elif key == "time":
            text = self.plain["time"]().replace("{day}", self.plain["day"]()).replace("{month}", self.plain["month"]())
        elif key in self.plain:
            text = self.plain[key]()
        else:
            text = self.topical[key][self._topic()]()
        return text[0].upper() + text[1:] if slot[0].isupper() else text

    def _write(self, frames: dict[int, Draw]) -> str:
        """Return one filled frame."""
        frame = frames[0 if self.uniform() < GENERIC_FRAMES else self._topic()]()
        text = re.sub(r"{(\w+)}", self._fill, frame)
        return re.sub(r"\b(a) (?=[aeio]|u(?!s|ni))", r"\1n ", text, flags=re.IGNORECASE)

    def row(self, label: int) -> str:
        """Return the text of one row."""
        draw = self.uniform()
        side = next(topic for topic, bound in zip(LABELS, self.neighbours[label], strict=True) if draw < bound)
        low, high = AMBIGUOUS_OWN if self.uniform() < AMBIGUOUS_SHARE else PLAIN_OWN
        own = low + (high - low) * self.uniform()
        self.bounds = [(own, label), (1 - UNIFORM_SHARE, side)]
        head = " ".join(word[0].upper() + word[1:] for word in self._write(self.heads).split())
        agency = self.plain["agency"]()
        form = self.uniform()
        if form < 0.35:
            start = f"{head} ({agency}) {agency} - "
        elif form < 0.6:
            start = f"{head} {self.plain['place']().upper()} ({agency}) - "
        elif form < 0.75:
            start = f"{head} ({agency}) "
        else:
            start = f"{head} "
        text = start + self._write(self.sentences)
        while _length(text) < MIN_TOKENS or self.uniform() < 0.3:
            longer = f"{text} {self._write(self.sentences)}"
            if _length(longer) > MAX_TOKENS:
                break
            text = longer
        return text


def _length(text: str) -> int:
    """Count the tokens: words and the punctuation marks . , ( ) ! ? ' (quotes are not counted)."""
    return len(re.findall(r"[.,()!?']|[^\s.,()!?'\"]+", text))


def generate() -> dict[str, list[tuple[int, str]]]:
    """Return {"train": 8,000 rows, "test": 1,600 rows} of (label 1..4, text), balanced, shuffled, no row twice."""
    writer = _Writer(SEED)
    seen: set[str] = set()
    corpus = {}
    for part, count in (("train", TRAIN_ROWS), ("test", TEST_ROWS)):
        labels = np.repeat(LABELS, count // len(LABELS))
        rows = []
        for label in writer.rng.permutation(labels).tolist():
            text = writer.row(label)
            while text in seen or not MIN_TOKENS <= _length(text) <= MAX_TOKENS:
                text = writer.row(label)
            seen.add(text)
            rows.append((label, text))
        corpus[part] = rows
    return corpus
