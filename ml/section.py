"""The base class of those sections of the policy file that `ml` reads."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen values. An unknown key, a value of another type and a number that is not finite are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
