"""Settings: precedence of layers, and errors with their origin and a hint."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings

from goverse import limits
from goverse.errors import ConfigError
from goverse.objects.registry import AccessRule
from goverse.settings import EffectiveSettings, Settings, load_settings
from goverse.settings.catalog import known_settings, plain, sections
from goverse.settings.document import markdown_table, yaml_document
from goverse.settings.effective import load
from goverse.telemetry.resources import Allowance
from goverse.wire.options import WireOptions

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "configuration.md"


def refused(**given: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_settings(**{"environ": {}, **given})  # type: ignore[arg-type]
    return caught.value


def written(folder: Path, text: str) -> Path:
    path = folder / "goverse.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_come_from_the_limits() -> None:
    settings = load_settings(environ={}).values

    assert (settings.gate.host, settings.gate.port) == ("127.0.0.1", 8000)
    assert settings.wal.batch_max_bytes == limits.WAL_BATCH_MAX_BYTES == 256 * 1024
    assert settings.wal.batch_max_ms == limits.WAL_BATCH_MAX_MS == 0
    assert settings.wal.segment_bytes == 256 * 1024 * 1024
    assert (settings.node.default_call_timeout_s, settings.node.default_create_timeout_s) == (30, 10)
    assert settings.wal.data_dir == Path(".goverse")


def test_flags_override_the_environment_which_overrides_the_file(tmp_path: Path) -> None:
    config = written(tmp_path, "gate:\n  port: 1\n  access_log: all\nnode:\n  id: from-file\n")
    environ = {"GOVERSE_GATE__PORT": "2", "GOVERSE_NODE__ID": "from-environment"}
    flags = {"gate.port": ("--port", 3), "gate.host": ("--host", None)}

    effective = load_settings(config=config, environ=environ, flags=flags)

    values = effective.values
    assert (values.gate.port, values.node.id, values.gate.access_log) == (3, "from-environment", "all")
    assert effective.origin("gate.port") == "flag --port"
    assert effective.origin("node.id") == "environment variable GOVERSE_NODE__ID"
    assert effective.origin("gate.access_log") == f"{config}, line 3"
    assert effective.origin("gate.host") == "default"


def test_the_environment_may_name_the_file_and_a_flag_overrides_it(tmp_path: Path) -> None:
    named = written(tmp_path, "node:\n  id: named\n")
    other = tmp_path / "other.yaml"
    other.write_text("node:\n  id: other\n", encoding="utf-8")

    assert load_settings(environ={"GOVERSE_CONFIG": str(named)}).values.node.id == "named"
    assert load_settings(config=other, environ={"GOVERSE_CONFIG": str(named)}).values.node.id == "other"


def test_text_from_the_environment_becomes_numbers_booleans_sizes_and_lists() -> None:
    environ = {
        "GOVERSE_GATE__ALLOW_UNAUTHENTICATED_REMOTE": "true",
        "GOVERSE_GATE__ALLOWED_ORIGINS": "https://a.example, https://b.example",
        "GOVERSE_WAL__SEGMENT_BYTES": "64MiB",
        "GOVERSE_NODE__IDLE_TIMEOUT_S": "1.5",
        "GOVERSE_GATE__WEB_DIR": "",
    }

    settings = load_settings(environ=environ).values

    assert settings.gate.allow_unauthenticated_remote is True
    assert settings.gate.allowed_origins == ("https://a.example", "https://b.example")
    assert settings.wal.segment_bytes == 64 * 1024 * 1024
    assert settings.node.idle_timeout_s == 1.5
    assert settings.gate.web_dir is None


def test_logs_are_set_without_prefix_and_pod_name_names_the_node() -> None:
    environ = {"LOG_FORMAT": "JSON", "LOG_LEVEL": "DEBUG", "POD_NAME": "goverse-0"}

    settings = load_settings(environ=environ).values

    assert (settings.log.format, settings.log.level, settings.node.id) == ("json", "debug", "goverse-0")
    assert load_settings(environ={**environ, "GOVERSE_NODE__ID": "mine"}).values.node.id == "mine"
    assert load_settings(environ={**environ, "GOVERSE_LOG__LEVEL": "error"}).values.log.level == "error"


@pytest.mark.requirement("OPS-4")
@pytest.mark.parametrize(
    ("environ", "advertised"),
    [
        ({"GOVERSE_CLUSTER__LISTEN": "0.0.0.0:7400", "POD_IP": "10.1.2.3"}, "10.1.2.3:7400"),
        ({"GOVERSE_CLUSTER__LISTEN": "[::]:7401", "POD_IP": "fd00::7"}, "[fd00::7]:7401"),
        ({"GOVERSE_CLUSTER__LISTEN": "0.0.0.0:7400", "POD_IP": "10.1.2.3", "GOVERSE_CLUSTER__ADVERTISE": "n:1"}, "n:1"),
        ({"POD_IP": "10.1.2.3"}, ""),  # it listens on loopback, so the Pod's address does not reach it
        ({"GOVERSE_CLUSTER__LISTEN": "0.0.0.0:7400"}, ""),
    ],
)
def test_a_pod_advertises_its_address_where_it_listens_on_all(environ: dict[str, str], advertised: str) -> None:
    settings = load_settings(environ=environ)

    assert settings.values.cluster.advertise == advertised
    from_pod = advertised.strip("[").startswith(environ.get("POD_IP", "-"))
    assert (settings.origin("cluster.advertise") == "environment variable POD_IP") is from_pod


def test_a_value_may_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("from-a-file\n", encoding="utf-8")
    environ = {"GOVERSE_NODE__ID_FILE": str(tmp_path / "id")}

    effective = load_settings(environ=environ)

    assert effective.values.node.id == "from-a-file"
    assert effective.origin("node.id") == "environment variable GOVERSE_NODE__ID_FILE"
    missing = refused(environ={"GOVERSE_NODE__ID_FILE": str(tmp_path / "none")})
    assert str(tmp_path / "none") in missing.detail
    assert "No such file" in missing.detail
    assert "keep one of them" in refused(environ={**environ, "GOVERSE_NODE__ID": "x"}).detail


class Vault(BaseModel):
    """A section with a secret."""

    password: SecretStr | None = None


class WithSecret(BaseSettings):
    """Settings with a secret."""

    vault: Vault = Field(default_factory=Vault)


def test_secrets_come_from_files_and_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("open sesame\n", encoding="utf-8")

    effective = load(
        WithSecret,
        config=None,
        environ={"GOVERSE_VAULT__PASSWORD_FILE": str(tmp_path / "password")},
        flags={},
    )

    assert effective.values.vault.password is not None
    assert effective.values.vault.password.get_secret_value() == "open sesame"
    assert effective.shown()["vault.password"]["value"] == "********"
    assert "sesame" not in repr(effective.shown())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "gate:\n  prot: 1\n",
            "gate.prot ({file}, line 2): unknown setting; did you mean gate.port?",
        ),
        ("gaet:\n  port: 1\n", "gaet ({file}, line 1): unknown section; did you mean gate?"),
        ("data_dir: x\n", "data_dir ({file}, line 1): unknown section; did you mean wal.data_dir?"),
        (
            "gate:\n  qqqqqq: 1\n",
            "gate.qqqqqq ({file}, line 2): unknown setting; known settings: gate.host, ",
        ),
        (
            "gate:\n  port: 1\n  port: 2\n",
            "{file}, line 3: gate.port is set twice; the first is in {file}, line 2",
        ),
        ("- gate\n", "{file}, line 1: expected `section:`"),
        ("gate: 3\n", "gate ({file}, line 1): input should be a valid dictionary"),
        ("gate:\n  port: [\n", "{file}, line 3 is not valid YAML"),
        ("gate:\n  port: many\n", "gate.port ({file}, line 2): input should be a valid integer"),
        ("gate:\n  port: 65536\n", "less than or equal to 65535, got 65536"),
        (
            "wal:\n  segment_bytes: 1kB\n",
            "wal.segment_bytes ({file}, line 2): input should be greater than or equal to",
        ),
        ("node:\n  id: 'a b'\n", "node.id ({file}, line 2): use letters, digits"),
        (
            "node:\n  call_timeout_s_max: 20\n",
            "node.default_call_timeout_s (default): must not exceed node.call_timeout_s_max, which is 20",
        ),
        (
            "wire:\n  keepalive_s: 5\n",
            "wire.silence_s_max (default): must be at least twice wire.keepalive_s, which is 5",
        ),
    ],
)
def test_an_invalid_file_is_refused_with_the_line_and_a_hint(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)

    assert said.replace("{file}", str(path)) in refused(config=path).detail


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")

    assert "No such file" in refused(config=tmp_path / "absent.yaml").detail
    assert "not UTF-8" in refused(config=tmp_path / "binary").detail


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("GOVERSE_GATE__PROT", "GOVERSE_GATE__PORT"),
        ("GOVERSE_GATE_PORT", "GOVERSE_GATE__PORT"),
        ("GOVERSE_GATE__PORT__TCP", "GOVERSE_GATE__PORT"),
        ("GOVERSE_DATA_DIR", "GOVERSE_WAL__DATA_DIR"),
        ("GOVERSE_WALL__DATA_DIR", "GOVERSE_WAL__DATA_DIR"),
        ("GOVERSE_LOG_LEVEL", "LOG_LEVEL"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_known_name(variable: str, nearest: str) -> None:
    detail = refused(environ={variable: "1", "GOVERSE_GATE__PORT": "8000"}).detail

    assert variable in detail
    assert f"did you mean {nearest}?" in detail


def test_a_section_name_alone_is_not_a_setting() -> None:
    assert "GOVERSE_GATE: unknown setting" in refused(environ={"GOVERSE_GATE": "x", "GOVERSE_GATE__PORT": "1"}).detail


def test_variables_of_kubernetes_are_not_settings() -> None:
    environ = {
        "GOVERSE_GATE_SERVICE_HOST": "10.0.0.1",
        "GOVERSE_GATE_SERVICE_PORT": "8000",
        "GOVERSE_GATE_SERVICE_PORT_HTTP": "8000",
        "GOVERSE_GATE_PORT": "tcp://10.0.0.1:8000",
        "GOVERSE_GATE_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "GOVERSE_GATE_PORT_8000_TCP_ADDR": "10.0.0.1",
        "GOVERSE_URL": "http://localhost:8000",
        "GOVERSE_CA": "ca.pem",
        "GOVERSE_CERT": "caller.pem",
        "GOVERSE_CERT_KEY": "caller.key",
        "GOVERSE_ADMIN_DSN": "postgresql://postgres@db/postgres",
        "GOVERSE_ADMIN_PASSWORD_FILE": "/run/secrets/admin",
    }

    assert load_settings(environ=environ).values.gate.port == 8000


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    path = written(tmp_path, "gate:\n  prot: 1\nnode:\n  activations_max: 0\n")

    error = refused(config=path, environ={"GOVERSE_WAL__BATCH_MAX_MS": "soon"}, flags={"gate.port": ("--port", -1)})

    assert error.detail.startswith("4 settings are invalid:\n")
    assert {(item["setting"], item["origin"]) for item in error.extra["problems"]} == {
        ("gate.prot", f"{path}, line 2"),
        ("node.activations_max", f"{path}, line 4"),
        ("wal.batch_max_ms", "environment variable GOVERSE_WAL__BATCH_MAX_MS"),
        ("gate.port", "flag --port"),
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_hosts_are_allowed(host: str) -> None:
    assert load_settings(environ={"GOVERSE_GATE__HOST": host}).values.gate.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "shop.example"])
def test_a_host_reachable_by_other_machines_needs_an_explicit_setting(host: str) -> None:
    error = refused(environ={"GOVERSE_GATE__HOST": host, "GOVERSE_GATE__PORT": "1"})

    assert error.detail.startswith("gate.host (environment variable GOVERSE_GATE__HOST): other machines can reach")
    assert "gate.allow_unauthenticated_remote" in error.detail
    allowed = {"GOVERSE_GATE__HOST": host, "GOVERSE_GATE__ALLOW_UNAUTHENTICATED_REMOTE": "1"}
    assert load_settings(environ=allowed).values.gate.host == host


def defaults(effective: EffectiveSettings[Settings]) -> dict[str, object]:
    return {path: shown["value"] for path, shown in effective.shown().items()}


def test_the_generated_file_is_valid_with_and_without_its_commented_lines(tmp_path: Path) -> None:
    document = yaml_document()
    untouched = written(tmp_path, document)
    assert defaults(load_settings(config=untouched, environ={})) == defaults(load_settings(environ={}))

    switched_on = written(tmp_path, document.replace("\n  # ", "\n  "))
    effective = load_settings(config=switched_on, environ={})

    assert defaults(effective) == defaults(load_settings(environ={}))
    assert all(effective.origin(path).startswith(str(switched_on)) for path in effective.shown())
    named = {
        f"{section}.{name}" for section, names in yaml.safe_load(switched_on.read_text()).items() for name in names
    }
    assert named == {setting.path for setting in known_settings(Settings)}


def test_every_setting_has_a_description_and_a_bounded_number() -> None:
    for setting in known_settings(Settings):
        assert setting.description.endswith("."), setting.path
        if isinstance(plain(setting.default), int | float) and not isinstance(setting.default, bool):
            assert any(sign in setting.takes for sign in "<≤>≥"), setting.path


@pytest.mark.parametrize("section", sections(Settings))
def test_the_reference_page_has_the_table_of_the_models(section: str) -> None:
    assert markdown_table(section) in PAGE.read_text(encoding="utf-8")


def test_wire_settings_become_the_options_of_links() -> None:
    assert load_settings(environ={}).values.wire.options(limits.INFLIGHT_CALLS_MAX) == WireOptions()
    environ = {"INFLIGHT_MAX": "50", "KEEPALIVE_S": "0.5", "MESSAGE_BYTES": "64KiB"}
    given = {f"GOVERSE_WIRE__{name}": value for name, value in environ.items()}
    options = load_settings(environ=given).values.wire.options(70)
    assert (options.inflight_max, options.inflight_total_max) == (50, 70)
    assert (options.keepalive_s, options.message_bytes) == (0.5, 65_536)


def test_etcd_settings_become_the_options_of_the_client(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim\n", encoding="utf-8")
    environ = {
        "GOVERSE_ETCD__ENDPOINTS": "https://etcd-0:2379, https://etcd-1",
        "GOVERSE_ETCD__USERNAME": "goverse",
        "GOVERSE_ETCD__PASSWORD_FILE": str(tmp_path / "password"),
        "GOVERSE_ETCD__TLS_CA": str(tmp_path / "ca.pem"),
    }

    effective = load_settings(environ=environ)
    options = effective.values.etcd.options()

    assert [str(endpoint) for endpoint in options.endpoints] == ["https://etcd-0:2379", "https://etcd-1:2379"]
    assert (options.username, options.password, options.tls_ca) == ("goverse", "geheim", tmp_path / "ca.pem")
    assert options.operation_timeout_s == limits.ETCD_OPERATION_TIMEOUT_S == 60
    assert "geheim" not in repr(effective.shown())
    assert [str(endpoint) for endpoint in load_settings(environ={}).values.etcd.options().endpoints] == [
        "http://127.0.0.1:2379"
    ]


@pytest.mark.parametrize(
    ("environ", "origin", "said"),
    [
        ({"GOVERSE_ETCD__ENDPOINTS": "ftp://x"}, "GOVERSE_ETCD__ENDPOINTS", "invalid etcd address"),
        (
            {"GOVERSE_ETCD__ENDPOINTS": "http://a,https://b"},
            "GOVERSE_ETCD__ENDPOINTS",
            "use https:// for all etcd endpoints or for none",
        ),
        ({"GOVERSE_ETCD__USERNAME": "me"}, "GOVERSE_ETCD__USERNAME", "set etcd.username and etcd.password together"),
        ({"GOVERSE_ETCD__TLS_CA": "ca.pem"}, "etcd.endpoints", "etcd certificates need endpoints with https"),
    ],
)
def test_contradicting_etcd_settings_are_refused(environ: dict[str, str], origin: str, said: str) -> None:
    problem = refused(environ=environ)

    assert said in problem.detail
    assert origin in problem.detail


@pytest.mark.requirement("OPS-7")
@pytest.mark.parametrize(
    ("memory_mib", "objects_mib", "bodies_mib"),
    [(64, 8, 16), (128, 16, 32), (256, 64, 64), (512, 192, 128), (1024, 448, 256), (8192, 4032, 256)],
)
def test_bounds_of_memory_follow_the_limit_of_the_container(memory_mib: int, objects_mib: int, bodies_mib: int) -> None:
    effective = load_settings(environ={}, allowed=Allowance(2, memory_mib * limits.MIB, memory_bounded=True))

    values = effective.values
    assert (values.node.activations_bytes_max, values.gate.bodies_bytes_max) == (
        objects_mib * limits.MIB,
        bodies_mib * limits.MIB,
    )
    assert effective.origin("node.activations_bytes_max") == f"default for a memory limit of {memory_mib} MiB"
    assert not effective.chosen("node.activations_bytes_max")
    assert values.node.activations_bytes_max + values.gate.bodies_bytes_max <= memory_mib * limits.MIB


@pytest.mark.requirement("OPS-7")
def test_configured_values_override_those_derived_from_the_container(tmp_path: Path) -> None:
    config = written(tmp_path, "gate:\n  bodies_bytes_max: 16MiB\n")
    environ = {
        "GOVERSE_NODE__ACTIVATIONS_BYTES_MAX": "1GiB",
        "POD_IP": "10.0.0.7",
        "GOVERSE_CLUSTER__LISTEN": "0.0.0.0:7400",
    }

    effective = load_settings(
        config=config, environ=environ, allowed=Allowance(1, 256 * limits.MIB, memory_bounded=True)
    )

    values = effective.values
    assert (values.node.activations_bytes_max, values.gate.bodies_bytes_max) == (1 << 30, 16 * limits.MIB)
    assert values.cluster.advertise == "10.0.0.7:7400"
    assert effective.chosen("node.activations_bytes_max")


def test_a_machine_changes_defaults_only_if_it_is_too_small_for_them() -> None:
    roomy = load_settings(environ={}, allowed=Allowance(64, 64 << 30, memory_bounded=False))
    assert roomy.shown() == load_settings(environ={}).shown()
    small = load_settings(environ={}, allowed=Allowance(1, 512 * limits.MIB, memory_bounded=False))
    assert small.values.node.activations_bytes_max == 192 * limits.MIB
    assert small.origin("node.activations_bytes_max") == "default for a machine of 512 MiB"


@pytest.mark.requirement("OBJ-14")
def test_object_types_have_settings_by_their_names(tmp_path: Path) -> None:
    file = written(tmp_path, "objects:\n  Wallet:\n    create: internal\n  Order:\n    delete: anyone\n")
    effective = load_settings(config=file, environ={"GOVERSE_OBJECTS__Wallet__DELETE": "nobody"})

    assert effective.values.access_rules() == {
        "Wallet": AccessRule(create="internal", delete="nobody"),
        "Order": AccessRule(create=None, delete="anyone"),
    }
    shown = {path: entry for path, entry in effective.shown().items() if path.startswith("objects.")}
    assert shown == {
        "objects.Wallet.create": {"value": "internal", "origin": f"{file}, line 2"},
        "objects.Wallet.delete": {
            "value": "nobody",
            "origin": "environment variable GOVERSE_OBJECTS__Wallet__DELETE",
        },
        "objects.Order.delete": {"value": "anyone", "origin": f"{file}, line 4"},
    }
    assert all(effective.chosen(path) for path in shown)
    assert load_settings(environ={}).values.access_rules() == {}


@pytest.mark.requirement("OBJ-14")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("objects:\n  Wallet:\n    delete: all\n", "objects.Wallet.delete"),
        ("objects:\n  Wallet:\n    delte: anyone\n", "did you mean delete?"),
        ("objects:\n  Wallet: anyone\n", "objects.Wallet"),
    ],
)
def test_an_invalid_setting_of_an_object_type_is_reported_with_its_origin(tmp_path: Path, text: str, told: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        load_settings(config=file, environ={})
    assert told in refused.value.detail
    assert f"{file}, line " in refused.value.detail


def test_an_unknown_setting_names_every_setting_that_contains_it(tmp_path: Path) -> None:
    file = tmp_path / "goverse.yaml"
    file.write_text("node:\n  call_timeout_s: 5\n")

    with pytest.raises(ConfigError) as refused:
        load_settings(config=file, environ={})

    assert "did you mean node.call_timeout_s_max or node.default_call_timeout_s?" in refused.value.detail
