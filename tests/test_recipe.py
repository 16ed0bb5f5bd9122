"""Recipes: what mergekit's YAML means here, and that nothing strange in a file passes for something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperspectral_geo.merging.recipe import Recipe, read_recipe

GOOD = """
merge_method: ties
base_model: base
models:
  - model: cat
    parameters: {weight: 0.5, density: 0.3}
  - model: base
  - model: dog
    parameters:
      weight: -1
      density: 0.3
parameters:
  lambda: 0.7
  int8_mask: true
  normalize: false
dtype: bfloat16
rank: 4
rules:
  - pattern: "*.attention.*"
    merge_method: task_arithmetic
    weights: [1, 2.5]
    scale: 2
  - pattern: "*"
    parameters: {density: 0.5, scale: 3.0}
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_whole_recipe(tmp_path: Path):
    recipe = read_recipe(written(tmp_path, GOOD))
    assert recipe.models == (tmp_path / "cat", tmp_path / "dog")
    assert (recipe.method, recipe.weights, recipe.base) == ("ties", (0.5, -1.0), tmp_path / "base")
    assert (recipe.scale, recipe.rank, recipe.dtype) == (0.7, 4, "bfloat16")
    assert recipe.options == {"density": 0.3}
    first, second = recipe.rules
    assert (first.pattern, first.method, first.weights, first.scale) == ("*.attention.*", "linear", [1.0, 2.5], 2.0)
    assert (second.method, second.scale, second.options) == (None, 3.0, {"density": 0.5})
    assert recipe.source == tmp_path / "recipe.yaml"


def test_the_least_recipe_has_the_defaults(tmp_path: Path):
    assert read_recipe(written(tmp_path, "models: [{model: cat}, {model: /dog}]")) == Recipe(
        models=(tmp_path / "cat", Path("/dog")), source=tmp_path / "recipe.yaml"
    )
    assert Recipe((Path("a"), Path("b"))).weights == (1.0, 1.0)


LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\nmodels: [{model: cat}]\n"


@pytest.mark.parametrize(
    "text, match",
    [
        ("merge_metod: ties\nmodels: [{model: a}]", "unknown key 'merge_metod'; did you mean 'merge_method'"),
        ("models: [{modell: a}]", r"models\[0\]: unknown key 'modell'; did you mean 'model'"),
        ("models: [{model: a, parameters: {wait: 1}}]", "unknown key 'wait'"),
        ("models: [{model: a}]\nrules: [{patern: a}]", r"rules\[0\]: unknown key 'patern'; did you mean 'pattern'"),
        ("models: [{model: a}]\nmodels: [{model: b}]", "the key 'models' occurs twice"),
        ("models: [{model: a, model: b}]", "the key 'model' occurs twice"),
        (LAUGHS, "aliases are not accepted"),
        ("models: [{model: !!python/object/apply:os.system ['true']}]", "expected YAML"),
        ("1: a", "expected texts as keys"),
        ("? [a]\n: b", "expected texts as keys"),
        ("", "expected keys and values, got None"),
        ("[1, 2]", "expected keys and values"),
        ("models: a", "models: expected a list"),
        ("models: []", "models: expected at least one"),
        ("models: [a]", r"models\[0\]: expected keys and values"),
        ("models: [{model: 3}]", "expected a text, got 3"),
        ("models: [{model: a, parameters: {weight: [0, 1]}}]", "weight: expected a finite number"),
        ("models: [{model: a, parameters: {weight: 1e-3}}]", "1e-3 is a text"),
        ("models: [{model: a, parameters: {weight: .nan}}]", "expected a finite number"),
        (f"models: [{{model: a, parameters: {{weight: {'9' * 400}}}}}]", "expected a finite number"),
        ("models: [{model: a, parameters: {density: 0.1}}, {model: b}]", "one density for all models"),
        ("models: [{model: a}]\nparameters: {normalize: true}", "normalize: True is not supported"),
        ("models: [{model: a}]\nparameters: {scale: 1, lambda: 2}", "one of scale and lambda"),
        ("models: [{model: a}]\nrank: 1.5", "rank: expected a whole number"),
        ("models: [{model: a}]\nrank: 0", "rank: expected a whole number"),
        ("models: [{model: a}]\ndtype: int8", "dtype: expected one of"),
        ("models: [{model: a}]\nrules: [{pattern: a, weights: [1, 2]}]", "expected 1 numbers"),
        ("models: [{model: a}]\nrules: [{weights: [1]}]", "pattern: expected a text"),
        ("models: {", "expected YAML"),
        (b"\xff\xfe\x00", "expected YAML"),
        ("[" * 5000, "expected YAML"),
        ("a" * (1 << 20) + "a", "at most 1048576 bytes"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str | bytes, match: str):
    with pytest.raises(ValueError, match=match) as caught:
        read_recipe(written(tmp_path, text))
    assert str(tmp_path / "recipe.yaml") in str(caught.value)


def test_normalize_is_said_or_done(tmp_path: Path):
    models = "models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 3}}]\n"
    for method in ("linear", "ties", "della"):
        with pytest.raises(ValueError, match="write normalize: false"):
            read_recipe(written(tmp_path, f"merge_method: {method}\n{models}"))
        plain = read_recipe(written(tmp_path, f"merge_method: {method}\n{models}parameters: {{normalize: false}}"))
        assert plain.weights == (1.0, 3.0)
    done = read_recipe(written(tmp_path, f"merge_method: linear\n{models}parameters: {{normalize: true}}"))
    assert (done.weights, done.options) == ((0.25, 0.75), {})
    with pytest.raises(ValueError, match="normalize: True is not supported"):
        read_recipe(written(tmp_path, f"merge_method: ties\n{models}parameters: {{normalize: true}}"))
    assert read_recipe(written(tmp_path, f"merge_method: dare_linear\n{models}")).weights == (1.0, 3.0)


def test_a_recipe_that_is_not_there(tmp_path: Path):
    with pytest.raises(OSError, match="none.yaml"):
        read_recipe(tmp_path / "none.yaml")
