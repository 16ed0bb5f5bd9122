"""What scikit-learn asks of an estimator, without scikit-learn: parameters by name, a representation, tags, state."""

from __future__ import annotations

import inspect
import sys
from typing import Any, ClassVar, Literal, TypeVar

__all__ = ["Estimator", "sklearn_class"]

Self = TypeVar("Self", bound="Estimator")


class Estimator:
    """Base of what is fitted: the parameters are those of ``__init__``, which stores them as they are.

    As in scikit-learn, ``__init__`` checks nothing, ``fit`` checks and returns the estimator, and what ``fit`` finds
    goes to attributes whose names end in ``_``; no other attribute does. ``sklearn.base.clone``, pipelines and grid
    search then work on a subclass. scikit-learn is imported only where it asks for tags, hence only where it is.

    Attributes:
        role: ``"classifier"``, ``"transformer"`` or ``None``.
        needs_target: whether ``fit`` needs y.

    References:
        Buitinck et al., "API design for machine learning software: experiences from the scikit-learn project", 2013,
        arXiv:1309.0238.

    Example:
        >>> class Shift(Estimator):
        ...     def __init__(self, by=1.0, *, up=True):
        ...         self.by, self.up = by, up
        >>> Shift(up=False).set_params(by=2.0)
        Shift(by=2.0, up=False)
        >>> Shift().get_params()
        {'by': 1.0, 'up': True}
    """

    role: ClassVar[Literal["classifier", "transformer"] | None] = None
    needs_target: ClassVar[bool] = False

    @classmethod
    def _parameters(cls) -> dict[str, Any]:
        """Names of the parameters and their defaults, in the order of the signature."""
        signature = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p.default for p in signature if p.name != "self" and p.kind is not p.VAR_KEYWORD}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; ``deep`` adds those of parameters that have parameters, as ``outer__inner``."""
        found: dict[str, Any] = {}
        for name in self._parameters():
            value = found[name] = getattr(self, name)
            if deep and hasattr(value, "get_params") and not isinstance(value, type):
                found |= {f"{name}__{inner}": held for inner, held in value.get_params().items()}
        return found

    def set_params(self: Self, **params: Any) -> Self:
        """Change parameters by name, ``outer__inner`` for those of a parameter; values are checked by ``fit``.

        Raises:
            ValueError: for a name that is no parameter; then nothing is changed.
        """
        own: dict[str, Any] = {}
        nested: dict[str, dict[str, Any]] = {}
        names = list(self._parameters())
        for key, value in params.items():
            name, split, inner = key.partition("__")
            if name not in names:
                raise ValueError(
                    f"{type(self).__name__}: expected parameters {', '.join(names)}, got {key!r}; rename it"
                )
            if split:
                nested.setdefault(name, {})[inner] = value
            else:
                own[name] = value
        for name, value in own.items():
            setattr(self, name, value)
        for name, inner_params in nested.items():
            getattr(self, name).set_params(**inner_params)
        return self

    def __repr__(self) -> str:
        """The call that makes it, without parameters that have their default."""
        told = (
            f"{name}={value!r}"
            for name, default in self._parameters().items()
            if (value := getattr(self, name)) is not default and repr(value) != repr(default)
        )
        return f"{type(self).__name__}({', '.join(told)})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn wants to know before it uses an estimator."""
        from sklearn.utils import ClassifierTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=self.role,
            target_tags=TargetTags(required=self.needs_target),
            classifier_tags=ClassifierTags() if self.role == "classifier" else None,
            transformer_tags=(
                TransformerTags(preserves_dtype=["float64", "float32"]) if self.role == "transformer" else None
            ),
        )

    def require_fitted(self) -> None:
        """Raise ``ValueError`` (``NotFittedError`` where scikit-learn is in use) unless ``fit`` has been called."""
        found = {name for name in vars(self) if name.endswith("_") and not name.startswith("__")}
        if found - {"n_features_in_", "feature_names_in_"}:  # these come first, and stay if fit then fails
            return
        kind = sklearn_class("NotFittedError", ValueError)
        raise kind(f"{type(self).__name__}: expected a fitted estimator, got one that is not; call fit first")


def sklearn_class(name: str, otherwise: type) -> type:
    """An exception or warning of scikit-learn if that is loaded, for nobody else could catch it by its own name.

    >>> sklearn_class("NoSuchWarning", UserWarning)
    <class 'UserWarning'>
    """
    return getattr(sys.modules.get("sklearn.exceptions"), name, otherwise)
