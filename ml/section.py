"""The base class of the policy sections that are defined in `ml`."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen section of the policy file.

    Validation fails for an unknown key, for a value of the wrong type, and for an infinite number or NaN.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
