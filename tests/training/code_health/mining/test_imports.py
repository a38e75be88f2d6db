import math
from collections.abc import Mapping

from training.code_health.mining.imports import is_test, links

PATHS = [
    *("pkg/__init__.py", "pkg/core.py", "pkg/io/json.py", "pkg/io/__init__.py", "tests/test_core.py"),
    *("web/app.ts", "web/view.ts", "web/app.test.ts", "src/main/java/a/b/C.java", "src/main/java/a/b/D.java"),
    *("svc/pkg/one.go", "svc/pkg/two.go", "cmd/main.go"),
]


def found(imports: Mapping[str, tuple[str, ...]]) -> tuple[dict[str, int], dict[str, bool]]:
    linked = links(PATHS, [imports.get(path, ()) for path in PATHS])
    return dict(zip(PATHS, linked.fan_in, strict=True)), dict(zip(PATHS, linked.tested, strict=True))


def test_a_package_and_its_modules_are_found() -> None:
    fan_in, _ = found({"pkg/core.py": ("pkg/io json",), "tests/test_core.py": ("pkg core", "os")})
    assert fan_in["pkg/io/json.py"] == 1
    assert fan_in["pkg/core.py"] == 1
    assert fan_in["pkg/__init__.py"] == 0, "only the name is taken from it"


def test_a_standard_module_is_not_a_file_of_that_name_somewhere() -> None:
    fan_in, _ = found({"pkg/core.py": ("json",)})
    assert fan_in["pkg/io/json.py"] == 0


def test_relative_imports_start_where_the_file_is() -> None:
    fan_in, _ = found(
        {"pkg/core.py": ("./io json", "./ io"), "pkg/io/json.py": ("../core x",), "web/app.ts": ("./view",)}
    )
    assert fan_in["pkg/io/json.py"] == fan_in["pkg/io/__init__.py"] == 1
    assert fan_in["pkg/core.py"] == fan_in["web/view.ts"] == 1


def test_java_and_go_find_classes_and_packages() -> None:
    fan_in, _ = found({"src/main/java/a/b/D.java": ("a/b/C",), "cmd/main.go": ("example.org/svc/pkg", "fmt")})
    assert fan_in["src/main/java/a/b/C.java"] == 1
    assert fan_in["svc/pkg/one.go"] == fan_in["svc/pkg/two.go"] == 1


def test_a_file_is_tested_by_import_or_by_name_and_a_test_is_not_asked() -> None:
    _, tested = found({"tests/test_core.py": ("pkg/io json",)})
    assert tested["pkg/core.py"] == 1, "named after"
    assert tested["pkg/io/json.py"] == 1, "imported"
    assert tested["web/app.ts"] == 1 and tested["web/view.ts"] == 0
    assert math.isnan(tested["tests/test_core.py"]) and math.isnan(tested["web/app.test.ts"])


def test_a_file_that_imports_itself_has_no_importer() -> None:
    assert found({"pkg/core.py": ("pkg/core",)})[0]["pkg/core.py"] == 0


def test_tests_are_known_by_name_or_folder() -> None:
    tests = ["test_a.py", "a_test.go", "x/tests/helper.py", "ATest.java", "a.spec.ts", "spec/a_spec.rb"]
    assert all(map(is_test, tests))
    assert not any(map(is_test, ["contest.py", "latest.py", "testimony/a.py", "attestation.go", "protest.js"]))
