"""Settings and all paths. Only this module reads the environment."""

from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent


class Settings(BaseSettings):
    """The settings that differ between installations.

    Each field comes from the environment variable CREDITLOOM_<NAME>.
    """

    model_config = SettingsConfigDict(env_prefix="CREDITLOOM_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".creditloom"), description="the data folder")
    profile: Literal["development", "production"] = "development"
    policy: Path = PROJECT_ROOT / "policy" / "default.yaml"
    master_key: str | None = Field(default=None, repr=False)
    master_key_file: Path | None = None
    key_store: Path | None = Field(default=None, description="the file of the data keys, outside the data folder")
    night_cron: str = Field(
        default="0 2 * * *",
        pattern=r"^[\w*,/-]+( [\w*,/-]+){4}$",
        description="cron expression of the nightly schedule",
    )
    duckdb_memory: str = Field(
        default="2GB",
        pattern=r"^\d+(\.\d+)?(MB|GB)$",
        description="memory that DuckDB may use before it spills to disk",
    )
    audit_head: Path | None = Field(default=None, description="the file of the audit chain's head")
    warnings_webhook: SecretStr | None = Field(
        default=None, description="address that early warnings are posted to as JSON; none are posted if unset"
    )
    timezone: str = Field(default="UTC", description="time zone of the nightly schedule")

    @field_validator("home", mode="before")
    @classmethod
    def _absolute(cls, value: str | Path) -> Path:
        home = Path(value).expanduser().resolve()
        if not str(value).strip():
            raise ValueError("the data folder is empty; unset CREDITLOOM_HOME for the default, or name a folder")
        if home.exists() and not home.is_dir():
            raise ValueError(f"{home} is not a folder")
        if set(str(home)) & set("'\"{}"):
            raise ValueError(f"{home} contains a quote or a brace, which would break SQL and templates")
        return home

    @field_validator("key_store", mode="before")
    @classmethod
    def _outside(cls, value: str | Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        path, home = Path(value).expanduser().resolve(), info.data.get("home")
        if home and path.is_relative_to(home):
            raise ValueError(f"{path} is in the data folder, whose backups must not contain keys; choose another place")
        return path

    @field_validator("audit_head")
    @classmethod
    def _absolute_file(cls, value: Path | None) -> Path | None:
        path = value.expanduser().resolve() if value else None
        if path and path.is_dir():
            raise ValueError(f"{path} is a folder; name a file")
        return path

    @field_validator("warnings_webhook")
    @classmethod
    def _web_address(cls, value: SecretStr | None) -> SecretStr | None:
        """Check the address. The error never shows the address, because it may contain a secret."""
        if value is None or not value.get_secret_value():
            return None
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("this is not an address that begins with https:// or http://")
        return value

    @field_validator("timezone")
    @classmethod
    def _time_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is not a time zone; an example is Europe/Amsterdam")
        return value

    @property
    def key_store_file(self) -> Path:
        """The file of the data keys: by default beside the data folder, never in it."""
        return self.key_store or self.home.with_name(f"{self.home.name}-keys") / "keys.sqlite"

    @property
    def landing(self) -> Path:
        """The folder of delivered files, with one folder per source."""
        return self.home / "landing"

    @property
    def contracts(self) -> Path:
        """The folder of the contracts of the user's own sources, with one folder per source."""
        return self.home / "contracts"

    @property
    def lake(self) -> Path:
        """The folder of the lake: append-only Parquet files, receipts, quarantine, vault and originals."""
        return self.home / "lake"

    @property
    def audit_head_file(self) -> Path:
        """The file of the audit chain's head: outside the lake, and preferably outside the home."""
        return self.audit_head or self.home / "audit.head"

    @property
    def warehouse(self) -> Path:
        """The folder of the DuckDB file and of the other files that a night builds before it publishes."""
        return self.home / "warehouse"

    @property
    def warehouse_file(self) -> Path:
        """The DuckDB database that dbt writes."""
        return self.warehouse / "creditloom.duckdb"

    @property
    def selection(self) -> Path:
        """The folder of links to the lake files that the night reads."""
        return self.warehouse / "selection"

    @property
    def changed_files(self) -> Path:
        """The folder of links to the lake files that the previous build did not have."""
        return self.warehouse / "changed_files"

    @property
    def build(self) -> Path:
        """The folder of files between warehouse and snapshot: training sets, scores and check results."""
        return self.warehouse / "build"

    @property
    def published(self) -> Path:
        """The folder of the snapshots and of the `current` pointer."""
        return self.home / "published"

    @property
    def outbox_file(self) -> Path:
        """The database of the notifications: those that were sent, and those that wait to be sent."""
        return self.home / "outbox" / "outbox.sqlite"

    @property
    def warnings_log(self) -> Path:
        """The log of the early warnings that were sent, with one JSON line per warning."""
        return self.home / "logs" / "early_warnings.jsonl"

    @property
    def mlflow(self) -> Path:
        """The folder of MLflow's database and artifacts and of the promotion ledger."""
        return self.home / "mlflow"

    @property
    def ledger_file(self) -> Path:
        """The database of the promotion ledger."""
        return self.mlflow / "promotions.sqlite"

    @property
    def dagster_home(self) -> Path:
        """The folder of Dagster's instance."""
        return self.home / "dagster"

    @property
    def dbt_project(self) -> Path:
        """The dbt project; it is part of the code."""
        return PROJECT_ROOT / "dbt"

    @property
    def dbt_target(self) -> Path:
        """The folder where dbt writes its manifest and results; there is one per home."""
        return self.home / "dbt"

    @cached_property
    def tool_environment(self) -> dict[str, str]:
        """The environment variables for dbt, Dagster, MLflow and GX: their folders and limits, and no telemetry."""
        return {
            "CREDITLOOM_DUCKDB_MEMORY": self.duckdb_memory,
            "CREDITLOOM_HOME": str(self.home),
            "DAGSTER_HOME": str(self.dagster_home),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DO_NOT_TRACK": "1",
            "GX_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": self.mlflow_uri,
            "OMP_WAIT_POLICY": "PASSIVE",
        }

    @property
    def mlflow_uri(self) -> str:
        """The address of MLflow's tracking and registry store."""
        return f"sqlite:///{self.mlflow / 'mlflow.db'}"
