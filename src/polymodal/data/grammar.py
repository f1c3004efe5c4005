"""English sentences whose meaning is known: what the planted corpora say in their text modality.

A sentence expresses two graded values, an opinion about a thing and a feeling of a person, each one of the seven
levels -3 .. 3, and one binary cue without any sentiment: its tense. How a level is put into words:

- an adjective of that strength (``wonderful`` 3, ``good`` 2, ``decent`` 1, ``ordinary`` 0, ``dull`` -1, ...);
- a weaker adjective with an intensifier (``very good`` 3), or a stronger one with a downtoner (``rather good`` 1);
- the negated opposite: ``not at all bad`` 3, ``not bad`` 2, ``not very bad`` 1.

An opinion may take two clauses joined by ``but``; then the second one weighs twice as much as the first, so neither the
adjectives nor their order alone give the value.
"""

from __future__ import annotations

from random import Random

OPINIONS: dict[int, tuple[str, ...]] = {
    3: ("wonderful", "brilliant", "superb", "fantastic"),
    2: ("good", "pleasant", "impressive", "enjoyable", "lovely"),
    1: ("decent", "nice", "acceptable", "solid"),
    0: ("ordinary", "average", "typical", "usual"),
    -1: ("weak", "dull", "bland", "clumsy"),
    -2: ("bad", "poor", "unpleasant", "disappointing", "boring"),
    -3: ("terrible", "awful", "horrible", "dreadful"),
}
FEELINGS: dict[int, tuple[str, ...]] = {
    3: ("thrilled", "delighted", "overjoyed", "ecstatic"),
    2: ("happy", "glad", "pleased", "cheerful"),
    1: ("content", "comfortable", "hopeful", "relaxed"),
    0: ("neutral", "indifferent", "undecided", "quiet"),
    -1: ("uneasy", "restless", "weary", "doubtful"),
    -2: ("sad", "unhappy", "upset", "worried"),
    -3: ("furious", "miserable", "devastated", "heartbroken"),
}
# Strength of a level -> ways to say it: words before the adjective, the adjective's strength, and +1, or -1 where the
# adjective has the opposite sign because it is negated.
_FRAMES: dict[int, tuple[tuple[tuple[str, ...], int, int], ...]] = {
    0: ((("",), 0, 1),),
    1: ((("",), 1, 1), (("rather ", "fairly ", "somewhat "), 2, 1), (("not very ", "not so "), 2, -1)),
    2: ((("",), 2, 1), (("very ", "really ", "quite "), 1, 1), (("not ",), 2, -1)),
    3: ((("",), 3, 1), (("very ", "really ", "extremely "), 2, 1), (("not at all ",), 2, -1)),
}
_FRAME_ODDS = (0.7, 0.2, 0.1)

# A name that ends in s is a plural.
TOPICS: dict[str, tuple[str, ...]] = {
    "film": ("ending", "plot", "story", "actors", "dialogue", "music", "scenes", "camera work"),
    "phone": ("screen", "battery", "camera", "sound", "buttons", "design", "charger", "speakers"),
    "meal": ("soup", "dessert", "sauce", "service", "portions", "fish", "drinks", "bread"),
    "lesson": ("teacher", "homework", "pace", "examples", "textbook", "questions", "tone", "exercise"),
    "hotel": ("room", "breakfast", "staff", "view", "bed", "pool", "location", "towels"),
    "concert": ("singer", "band", "sound", "lights", "crowd", "songs", "stage", "encore"),
    "book": ("chapters", "hero", "style", "cover", "opening", "ending", "characters", "pictures"),
    "journey": ("seats", "driver", "view", "route", "tickets", "timing", "carriage", "food"),
    "game": ("levels", "graphics", "controls", "story", "puzzles", "music", "rules", "opponent"),
    "museum": ("guide", "paintings", "building", "garden", "tour", "exhibits", "cafe", "signs"),
    "car": ("engine", "seats", "brakes", "steering", "doors", "radio", "paint", "handling"),
    "party": ("guests", "cake", "speeches", "host", "decorations", "dancing", "drinks", "mood"),
}

_VERBS = (("was", "were", "is", "are"), ("seemed", "seemed", "seems", "seem"), ("looked", "looked", "looks", "look"))
_FEELERS = (
    ("I was", "I am"),
    ("I felt", "I feel"),
    ("we were", "we are"),
    ("it left me", "it leaves me"),
    ("my friends were", "my friends are"),
    ("everybody seemed", "everybody seems"),
)
_OPENINGS = ("", "", "", "honestly, ", "well, ", "overall, ", "as for the {topic}, ", "about the {topic}: ")
_AGREE = ("{opinion}, so {feeling}", "{opinion} and {feeling}", "{feeling}, because {opinion}")
_CLASH = ("{opinion}, yet {feeling}", "{opinion}; still, {feeling}", "{feeling}, although {opinion}")


def sentence(level: int, feeling: int, past: bool, topic: str, rng: Random) -> str:
    """Return a sentence about ``topic`` that expresses an opinion and a feeling.

    Args:
        level: -3 .. 3, how good the thing is.
        feeling: -3 .. 3, how somebody feels.
        past: past tense, else present: the cue without sentiment.
        topic: a key of ``TOPICS``.
        rng: chooses among the ways to say it; the same state gives the same sentence.
    """
    felt = f"{rng.choice(_FEELERS)[not past]} {phrase(feeling, FEELINGS, rng)}"
    join = rng.choice(_CLASH if level * feeling < 0 else _AGREE)
    said = join.format(opinion=opinion(level, past, topic, rng), feeling=felt)
    return rng.choice(_OPENINGS).format(topic=topic) + said


def opinion(level: int, past: bool, topic: str, rng: Random) -> str:
    """Return one clause, or two around ``but`` whose levels a and b satisfy (a + 2 b) / 3 = ``level`` (-3 .. 3)."""
    things = rng.sample(TOPICS[topic], 2)
    pairs = [(level - 2 * d, level + d) for d in (-1, 1) if abs(level - 2 * d) <= 3 and abs(level + d) <= 3]
    if not pairs or rng.random() < 0.75:
        return _clause(things[0], level, past, rng)
    first, second = rng.choice(pairs)
    return f"{_clause(things[0], first, past, rng)}, but {_clause(things[1], second, past, rng)}"


def phrase(level: int, adjectives: dict[int, tuple[str, ...]], rng: Random) -> str:
    """Return an adjective, perhaps with an intensifier or a negation, that expresses ``level`` (-3 .. 3)."""
    frames = _FRAMES[abs(level)]
    words, strength, flip = rng.choices(frames, _FRAME_ODDS[: len(frames)])[0]
    sign = 1 if level > 0 else -1
    return rng.choice(words) + rng.choice(adjectives[sign * flip * strength])


def _clause(thing: str, level: int, past: bool, rng: Random) -> str:
    words = phrase(level, OPINIONS, rng)
    if rng.random() < 0.2:
        return f"I {'found' if past else 'find'} the {thing} {words}"
    form = 2 * (not past) + thing.endswith("s")
    return f"the {thing} {rng.choice(_VERBS)[form]} {words}"
