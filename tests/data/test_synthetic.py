from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.neighbors import KNeighborsRegressor

from polymodal.core import DataError, OptionError
from polymodal.data.corpus import Corpus
from polymodal.data.grammar import OPINIONS
from polymodal.data.ragged import Array, Ragged
from polymodal.data.split import Split
from polymodal.data.synthetic import load, names

NAMES = ("talk", "sarcasm", "biased", "emotions", "labels", "xor", "redundant", "vectors", "unimodal", "pair")
NAMES += ("mosi-shaped", "faces")
ALPHAS = np.logspace(-1, 4, 11)


@cache
def corpus(name: str, **options: Any) -> Corpus:
    return load(name, **options)


def pooled(split: Split, modality: str) -> Array:
    """(rows, 2 width): mean and standard deviation over time."""
    column = split.columns[modality]
    assert isinstance(column, Ragged)
    return np.stack([np.r_[column[i].mean(0), column[i].std(0)] for i in range(len(column))])


def counts(made: Corpus) -> dict[str, Array]:
    bag = CountVectorizer(min_df=2).fit(list(made["train"].columns["text"]))
    return {name: bag.transform(list(split.columns["text"])).toarray() for name, split in made.splits.items()}


def correlation(a: Array, b: Array) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def same(a: Split, b: Split, rows: int) -> bool:
    """Whether the first ``rows`` samples are the same."""
    columns = all(np.array_equal(c[i], b.columns[m][i]) for m, c in a.columns.items() for i in range(rows))
    labels = all(np.array_equal(y[:rows], b.targets[t][:rows]) for t, y in a.targets.items())
    return columns and labels and list(a.ids[:rows]) == list(b.ids[:rows])


def test_the_promised_corpora_exist_with_a_description() -> None:
    assert tuple(names()) == NAMES
    assert all(names().values())


@pytest.mark.parametrize("name", NAMES)
def test_corpus_passes_its_check_and_keeps_speakers_apart(name: str) -> None:
    made = corpus(name, n=100).check()
    assert {"train", "valid", "test"} <= set(made.splits)
    assert len(made["train"]) == 100
    speakers = [set(split.groups) for split in made.splits.values()]
    assert len(set.union(*speakers)) == sum(len(s) for s in speakers)
    for split in made.splits.values():
        assert all(there.all() for there in split.present.values())


@pytest.mark.parametrize("name", NAMES)
def test_components_have_their_stated_shares_of_the_variance(name: str) -> None:
    made = corpus("mosi-shaped", n=1284) if name == "mosi-shaped" else corpus(name, n=4000)
    known = made.truth["splits"]["train"]
    for score, parts in made.truth["plan"].scores.items():
        values = np.stack([c.value(known["factors"]) for c in parts], axis=1)
        weights, *_ = np.linalg.lstsq(values, known["scores"][score], rcond=None)
        stated = made.truth["shares"][score]
        for component, weight in zip(parts, weights, strict=True):
            assert weight**2 == pytest.approx(stated[component.name], abs=0.05)
        assert np.var(known["scores"][score]) == pytest.approx(1, abs=0.1)
        assert np.var(known["clean"][score]) == pytest.approx(sum(stated.values()), abs=0.1)


@pytest.mark.parametrize("name", ["talk", "redundant", "unimodal", "pair", "vectors"])
def test_regression_label_follows_the_score_within_its_range(name: str) -> None:
    made = corpus(name)
    target = made.schema.targets[0]
    labels = made["train"].targets[target.name]
    (score,) = made.truth["splits"]["train"]["scores"].values()
    assert target.range is not None
    assert np.abs(labels).max() == target.range[1]
    assert correlation(labels, score) > 0.98


def test_a_factor_is_read_by_its_carriers_with_the_stated_strength() -> None:
    made = corpus("vectors", n=3000)
    train, factors = made["train"], made.truth["splits"]["train"]["factors"]
    for factor, carriers in made.truth["carries"].items():
        for modality, strength in carriers.items():
            if made.schema.modality(modality).kind == "vector":
                channels = made.truth["channels"][modality][factor]
                fit = RidgeCV(ALPHAS).fit(pooled(train, modality)[:, channels], factors[factor])
                found = correlation(fit.predict(pooled(train, modality)[:, channels]), factors[factor])
                assert found == pytest.approx(strength, abs=0.08), (factor, modality)


@pytest.mark.parametrize("factor", ["text_only", "audio_only", "vision_only", "tone_text", "tone_audio"])
def test_unique_factor_cannot_be_found_in_another_modality(factor: str) -> None:
    made = corpus("talk")
    (carrier,) = made.truth["carries"][factor]
    shortcut = made.truth["shortcut"]
    train, test = (made.truth["splits"][s]["factors"][factor] for s in ("train", "test"))
    bags = counts(made)
    for modality in {"text", "audio", "vision"} - {carrier}:
        x, z = ((bags[s] if modality == "text" else pooled(made[s], modality)) for s in ("train", "test"))
        if modality == shortcut["modality"]:  # it follows the label, and so every factor a little
            width = made.schema.modality(modality).width
            others = [c for c in range(2 * width) if c % width != shortcut["channel"]]
            x, z = x[:, others], z[:, others]
        for model in (RidgeCV(ALPHAS), KNeighborsRegressor(15)):
            assert model.fit(x, train).score(z, test) < 0.05, (modality, model)


@pytest.mark.parametrize(("factor", "modality"), [("audio_only", "audio"), ("vision_only", "vision")])
def test_unique_factor_can_be_found_in_its_own_modality_by_pooling(factor: str, modality: str) -> None:
    made = corpus("talk")
    model = RidgeCV(ALPHAS).fit(pooled(made["train"], modality), made.truth["splits"]["train"]["factors"][factor])
    assert model.score(pooled(made["test"], modality), made.truth["splits"]["test"]["factors"][factor]) > 0.25


def test_weighing_steps_by_the_event_channel_reads_a_factor_better_than_the_mean() -> None:
    made = corpus("talk", n=2000)
    column, channels = made["train"].columns["audio"], made.truth["channels"]["audio"]["audio_only"]
    factor = made.truth["splits"]["train"]["factors"]["audio_only"]
    rows = [column[i] for i in range(len(column))]
    mean = np.array([r[:, channels.start].mean() for r in rows])
    gates = [np.maximum(r[:, 0], 0) ** 2 for r in rows]
    weighed = np.array([(g @ r[:, channels.start]) / g.sum() for g, r in zip(gates, rows, strict=True)])
    assert correlation(weighed, factor) > correlation(mean, factor) + 0.05


def test_no_single_fixed_step_holds_the_signal() -> None:
    made = corpus("xor")
    column = made["train"].columns["audio"]
    factor = made.truth["splits"]["train"]["factors"]["sign_audio"]
    channel = made.truth["channels"]["audio"]["sign_audio"].start
    rows = [column[i][:, channel] for i in range(len(column))]
    pooled_reading = correlation(np.array([r.mean() for r in rows]), factor)
    assert pooled_reading > 0.8
    for step in (0, -1):
        assert correlation(np.array([r[step] for r in rows]), factor) < pooled_reading - 0.25


def test_xor_is_at_chance_alone_and_certain_together() -> None:
    made = corpus("xor", n=4000)
    labels, known = made["train"].targets["agreement"], made.truth["splits"]["train"]["factors"]
    signs = labels * 2.0 - 1
    assert np.array_equal(known["sign_audio"] * known["sign_vision"], signs)
    readings = {}
    for modality in ("audio", "vision"):
        x = pooled(made["train"], modality)
        assert max(abs(correlation(column, signs)) for column in x.T) < 0.06
        readings[modality] = x[:, made.truth["channels"][modality][f"sign_{modality}"].start]
    assert np.mean((readings["audio"] * readings["vision"] > 0) == (labels == 1)) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_the_limits_are_what_the_best_use_of_all_readings_explains(name: str) -> None:
    made = corpus("mosi-shaped", n=1284) if name == "mosi-shaped" else corpus(name, n=4000)
    plan, known = made.truth["plan"], made.truth["splits"]["train"]
    best = {}
    for factor, carriers in plan.carries.items():
        noise = {
            m: max(1 / r**2 - 1, 1e-9) for m, r in carriers.items()
        }  # variance of the error beside 1 of the factor
        seen = sum(known["readings"][m][factor] * (1 + v) ** 0.5 / v for m, v in noise.items())
        best[factor] = np.tanh(seen) if factor in plan.signs else seen / (1 + sum(1 / v for v in noise.values()))
    flat = np.stack([x for part in known["readings"].values() for x in part.values()], axis=1)
    for score, parts in plan.scores.items():
        truth = known["scores"][score]
        expected = sum(c.share**0.5 * c.value(best) for c in parts)
        assert 1 - np.mean((truth - expected) ** 2) == pytest.approx(plan.limits[score]["bayes"], abs=0.05)
        assert LinearRegression().fit(flat, truth).score(flat, truth) == pytest.approx(
            plan.limits[score]["linear"], abs=0.05
        )


@cache
def sarcasm() -> tuple[list[dict[str, Array]], list[dict[str, Any]]]:
    """Words, voice and face as a linear model sees them, and the truth: of samples to learn from, of others to ask."""
    made = [corpus("sarcasm", n=2000, seed=seed)["train"] for seed in (0, 1)]
    bag = CountVectorizer(min_df=2).fit(list(made[0].columns["text"]))
    views = [
        {
            "text": bag.transform(list(split.columns["text"])).toarray(),
            "audio": pooled(split, "audio"),
            "vision": pooled(split, "vision"),
        }
        for split in made
    ]
    return views, [corpus("sarcasm", n=2000, seed=seed).truth["splits"]["train"] for seed in (0, 1)]


def test_a_linear_probe_cannot_follow_sarcasm_but_one_that_multiplies_words_and_tone_can() -> None:
    views, known = sarcasm()
    limit = corpus("sarcasm", n=2000).truth["limits"]["sentiment"]
    score, asked = (k["scores"]["sentiment"] for k in known)

    def explained(*added: list[Array]) -> float:
        x, z = (np.column_stack([*view.values(), *extra]) for view, *extra in zip(views, *added, strict=True))
        return float(RidgeCV(ALPHAS).fit(x, score).score(z, asked))

    # What the sentence says, in seven levels, and whether the pooled voice sounds turned around.
    said = [np.clip(np.rint(1.5 * k["readings"]["text"]["words"]), -3, 3) for k in known]
    tone = RidgeCV(ALPHAS).fit(views[0]["audio"], known[0]["factors"]["tone"])
    meant = [level * np.sign(tone.predict(view["audio"])) for level, view in zip(said, views, strict=True)]
    assert limit["linear"] - 0.2 < explained() < limit["linear"]
    assert explained(said) == pytest.approx(limit["linear"], abs=0.06)
    assert explained(said, meant) == pytest.approx(limit["bayes"], abs=0.1)


@pytest.mark.parametrize("modality", ["text", "audio", "vision"])
def test_no_modality_alone_knows_whether_the_words_are_turned_around(modality: str) -> None:
    views, known = sarcasm()
    irony, asked = (k["factors"]["words"] * k["factors"]["tone"] for k in known)
    for model in (RidgeCV(ALPHAS), KNeighborsRegressor(25)):
        assert model.fit(views[0][modality], irony).score(views[1][modality], asked) < 0.03, model


def test_text_cue_alone_says_nothing_about_the_label() -> None:
    known = corpus("talk", n=4000).truth["splits"]["train"]
    score = known["scores"]["sentiment"]
    assert abs(correlation(known["factors"]["tone_text"], score)) < 0.05
    product = known["factors"]["tone_text"] * known["factors"]["tone_audio"]
    assert correlation(product, score) == pytest.approx(0.15**0.5, abs=0.05)


def test_text_cue_is_the_tense() -> None:
    made = corpus("talk")
    cue = made.truth["splits"]["train"]["factors"]["tone_text"]
    past = {"was", "were", "seemed", "looked", "found", "felt", "left"}
    assert [bool(past & set(t.split())) for t in made["train"].columns["text"]] == list(cue > 0)


def test_the_strength_of_a_shortcut_can_be_chosen() -> None:
    for strength in (0.0, 0.9):
        made = corpus("biased", n=600, shortcut=strength)
        assert made.truth["shortcut"]["correlation"] == strength
        for part, sign in (("test", 1), ("test_ood", -1)):
            known = made.truth["splits"][part]
            assert correlation(known["shortcut"], known["scores"]["mood"]) == pytest.approx(sign * strength, abs=0.13)
    assert made.source == "synthetic:biased?shortcut=0.9"
    with pytest.raises(OptionError, match="synthetic:xor has no shortcut channel; use shortcut with talk"):
        corpus("xor", shortcut=0.5)
    with pytest.raises(OptionError, match="the correlation must be at least 0 and below 1"):
        corpus("talk", shortcut=1.0)


@pytest.mark.parametrize("name", ["talk", "emotions", "biased"])
def test_shortcut_agrees_with_the_label_until_the_domain_changes(name: str) -> None:
    made = corpus(name, n=1000)
    shortcut = made.truth["shortcut"]
    first = next(iter(made.truth["shares"]))
    for part, split in made.splits.items():
        seen = pooled(split, shortcut["modality"])[:, shortcut["channel"]]
        known = made.truth["splits"][part]
        expected = -shortcut["correlation"] if part == "test_ood" else shortcut["correlation"]
        assert correlation(known["shortcut"], known["scores"][first]) == pytest.approx(expected, abs=0.13)
        assert np.sign(correlation(seen, known["scores"][first])) == np.sign(expected)


def test_a_model_that_trusts_the_shortcut_fails_out_of_domain() -> None:
    made = corpus("talk")
    model = RidgeCV(ALPHAS).fit(pooled(made["train"], "vision"), made["train"].targets["sentiment"])
    inside, outside = (
        correlation(model.predict(pooled(made[s], "vision")), made[s].targets["sentiment"])
        for s in ("test", "test_ood")
    )
    assert inside > outside + 0.1


def test_lengths_differ_between_samples_and_modalities() -> None:
    split = corpus("talk")["train"]
    words = np.array([len(t.split()) for t in split.columns["text"]])
    audio, vision = (split.columns[m].lengths for m in ("audio", "vision"))
    assert np.mean((audio == vision) | (audio == words)) < 0.02
    assert 15 <= audio.min() < audio.max() <= 85
    assert 8 <= vision.min() < vision.max() <= 45
    assert correlation(words, audio) > 0.8


def test_bag_of_words_reads_the_text_factors() -> None:
    made = corpus("talk", n=4000)
    bags, known = counts(made), made.truth["splits"]
    model = RidgeCV(ALPHAS).fit(bags["train"], known["train"]["factors"]["shared"])
    assert 0.5 < model.score(bags["test"], known["test"]["factors"]["shared"]) < 0.8
    model = RidgeCV(ALPHAS).fit(bags["train"], known["train"]["factors"]["text_only"])
    assert model.score(bags["test"], known["test"]["factors"]["text_only"]) > 0.4


def test_negation_turns_the_meaning_of_an_adjective_around() -> None:
    made = corpus("talk", n=4000)
    opinion = made.truth["splits"]["train"]["factors"]["text_only"]
    texts = [t if ", but " not in t else "" for t in made["train"].columns["text"]]
    adjective = f"({'|'.join(OPINIONS[2])})\\b"
    negated = np.array([bool(re.search(rf"\bnot {adjective}", t)) for t in texts])
    plain = np.array([bool(re.search(rf"(?<!not)(?<!so)(?<!very)(?<!all) {adjective}", t)) for t in texts])
    assert min(negated.sum(), plain.sum()) >= 10
    assert opinion[negated].mean() < -0.4
    assert opinion[plain].mean() > 0.4


def test_sentences_are_rarely_repeated() -> None:
    made = corpus("talk")
    train = list(made["train"].columns["text"])
    assert len(set(train)) > 0.98 * len(train)
    for part in ("valid", "test", "test_ood"):
        texts = list(made[part].columns["text"])
        assert len(set(texts) & set(train)) < 0.01 * len(texts)


def test_redundant_factor_is_clear_in_text_and_noisy_elsewhere() -> None:
    made = corpus("redundant")
    found = {}
    for modality in made.schema.names:
        train, test = (pooled(made[s], modality) for s in ("train", "test"))
        model = RidgeCV(ALPHAS).fit(train, made.truth["splits"]["train"]["factors"]["shared"])
        found[modality] = model.score(test, made.truth["splits"]["test"]["factors"]["shared"])
    assert found["text"] > 0.85
    assert 0.2 < found["audio"] < 0.7
    assert 0.2 < found["vision"] < 0.7


@pytest.mark.parametrize("ratio", [1.0, 3.0, 10.0])
def test_imbalance_is_the_ratio_of_the_first_to_the_last_class(ratio: float) -> None:
    count = np.bincount(corpus("emotions", n=8000, imbalance=ratio)["train"].targets["emotion"], minlength=6)
    assert count[0] / count[5] == pytest.approx(ratio, rel=0.35)
    if ratio > 1:
        assert (np.diff(count) < 0).all()
    share = corpus("labels", n=8000, imbalance=ratio)["train"].targets["labels"].mean(axis=0)
    assert share[0] / share[3] == pytest.approx(ratio, rel=0.2)
    assert share[0] == pytest.approx(0.5, abs=0.03)


def test_absent_samples_have_the_asked_share_and_no_content() -> None:
    made = corpus("talk", n=2000, absent=0.3).check()
    split, whole = made["train"], corpus("talk", n=2000)["train"]
    there = np.stack([split.present[m] for m in made.schema.names], axis=1)
    assert there.any(axis=1).all()
    # One modality of the 2.7 % that would have lost all three is given back.
    assert (~there).mean(axis=0) == pytest.approx([0.3 - 0.027 / 3] * 3, abs=0.03)
    for i in range(300):
        assert split.columns["text"][i] == (whole.columns["text"][i] if there[i, 0] else "")
        expected = whole.columns["audio"][i] if there[i, 1] else np.zeros((0, 12))
        assert np.array_equal(split.columns["audio"][i], expected)


@pytest.mark.parametrize("name", ["talk", "emotions", "labels"])
def test_label_noise_changes_the_marked_labels_only(name: str) -> None:
    made, clean = corpus(name, n=2000, label_noise=0.2), corpus(name, n=2000)
    target = made.schema.targets[0].name
    noisy, right = made["train"].targets[target], clean["train"].targets[target]
    marked = made.truth["splits"]["train"]["relabelled"]
    assert marked.mean() == pytest.approx(0.2, abs=0.03)
    assert np.array_equal(noisy[~marked], right[~marked])
    assert np.mean(noisy[marked] != right[marked]) > (0.9 if name == "talk" else 0.999)
    assert not clean.truth["splits"]["train"]["relabelled"].any()


def test_more_noise_hides_a_factor_and_no_noise_shows_it() -> None:
    scores = []
    for noise in (0.0, 1.0, 3.0):
        made = corpus("unimodal", noise=noise)
        x, z = (pooled(made[s], "audio") for s in ("train", "test"))
        known = made.truth["splits"]
        fit = RidgeCV(ALPHAS).fit(x, known["train"]["factors"]["audio_only"])
        scores.append(fit.score(z, known["test"]["factors"]["audio_only"]))
    assert scores[0] > 0.99
    assert scores[0] > scores[1] + 0.2 > scores[2] + 0.4


@pytest.mark.parametrize("name", ["talk", "labels", "vectors"])
def test_same_options_give_the_same_content(name: str) -> None:
    assert load(name, n=60, seed=3).hash == load(name, n=60, seed=3).hash
    assert load(name, n=60, seed=3).hash != load(name, n=60, seed=4).hash


@pytest.mark.parametrize("name", NAMES)
def test_smaller_corpus_is_the_beginning_of_a_larger_one(name: str) -> None:
    small, large = corpus(name, n=40), corpus(name, n=100)
    for part, split in small.splits.items():
        assert same(split, large[part], min(len(split), len(large[part])))


def test_splits_and_seeds_share_no_samples() -> None:
    made, other = corpus("talk"), corpus("talk", seed=1)
    firsts = [c["train"].columns["audio"][0].tobytes() for c in (made, other)]
    firsts += [made[s].columns["audio"][0].tobytes() for s in ("valid", "test", "test_ood")]
    assert len(set(firsts)) == 5


def test_benchmark_corpus_has_the_sizes_and_lengths_of_mosi() -> None:
    made = corpus("mosi-shaped")
    assert [len(made[s]) for s in ("train", "valid", "test")] == [1284, 229, 686]
    assert [m.width for m in made.schema.modalities] == [768, 5, 20]
    lengths = [made["train"].columns[m].lengths for m in made.schema.names]
    assert (lengths[0].min(), lengths[0].max()) == (6, 49)
    assert 300 < lengths[1].max() <= 375
    assert 400 < lengths[2].max() <= 500
    assert all(correlation(lengths[0], other) > 0.95 for other in lengths[1:])
    values, _ = made["train"].columns["text"].chunks[0]
    assert values.dtype == np.float32


def test_source_names_only_the_options_that_differ() -> None:
    assert corpus("talk").source == "synthetic:talk"
    assert load("talk", n=1000, seed=0, label_noise=0.0).source == "synthetic:talk"
    assert load("talk", n=50, seed=1).source == "synthetic:talk?n=50&seed=1"
    assert load("emotions", n=50, imbalance=2.0, absent=0.1).source == (
        "synthetic:emotions?n=50&imbalance=2.0&absent=0.1"
    )


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'talk'"):
        load("tal")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("talk", {"n": 0}, "at least 1"),
        ("talk", {"noise": -1.0}, "0 or more"),
        ("talk", {"noise": float("nan")}, "0 or more"),
        ("talk", {"absent": 1.0}, "absent=1.0"),
        ("talk", {"label_noise": -0.1}, "label_noise=-0.1"),
        ("talk", {"imbalance": 2.0}, "emotions, labels"),
        ("emotions", {"imbalance": 0.5}, "1 or more"),
        ("unimodal", {"absent": 0.2}, "single modality"),
    ],
)
def test_wrong_option_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load(name, **options)
