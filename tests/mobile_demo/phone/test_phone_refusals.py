"""What the phone page cannot do is a clear sentence: pictures, bundles, old browsers, small phones."""

import pytest

from edge_runtime import examples

SEVEN = examples.path("seven.png")


HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b"not a picture", "error_picture"),
        (b"", "error_picture"),
        (SEVEN.read_bytes()[:60], "error_picture"),
        (HEIC, "error_heic"),
    ],
    ids=["text", "empty", "cut off", "HEIC"],
)
def test_what_is_no_picture_here_is_a_sentence_and_the_next_photo_is_answered(url, phone, data, key):
    phone.ready(url)
    phone.photo("photo.jpg", data, "image/jpeg")
    assert phone.error() == phone.sentence(key)
    phone.photo("seven.png", SEVEN.read_bytes())
    phone.locator("#answer:not([hidden])").wait_for()
    assert phone.locator("#error").is_hidden()


@pytest.mark.parametrize(
    ("changed", "key", "values"),
    [
        ({"schema_version": 2}, "error_newer", {"needs": "0.1.0", "here": "0.1.0"}),
        ({"needs_runtime": "9.0.0"}, "error_newer", {"needs": "9.0.0", "here": "0.1.0"}),
        ({"artifacts": []}, "error_no_artifact", {}),
        ({"spec": {"task": "poetry"}}, "error_manifest", {}),
        (
            {"artifacts": [{"engine": "onnxruntime", "file": "../../x", "sha256": "0" * 64, "size_bytes": 1}]},
            "error_manifest",
            {},
        ),
    ],
    ids=["schema", "runtime", "no artifact", "task", "a path out"],
)
def test_a_bundle_that_this_page_cannot_run_is_a_sentence(url, phone, changed, key, values):
    def altered(route):
        manifest = {**route.fetch().json(), **changed}
        route.fulfill(json=manifest)

    phone.route("**/manifest.json", altered)
    phone.goto(url)
    assert phone.error() == phone.sentence(key, **values)


def test_a_manifest_that_is_not_json_and_a_missing_bundle_are_sentences(url, phone):
    phone.goto(f"{url}?bundle=lunch")
    assert phone.error() == phone.sentence("error_no_bundle", name="lunch", here="digits, cartpole")
    phone.route("**/manifest.json", lambda route: route.fulfill(body="{torn"))
    phone.goto(url)
    assert phone.error() == phone.sentence("error_manifest")


def test_a_browser_without_simd_is_told_what_to_do(url, phone):
    phone.add_init_script("WebAssembly.validate = () => false")
    phone.goto(url)
    assert phone.error() == phone.sentence("error_simd")


def test_too_little_memory_is_a_sentence(url, phone):
    said = "RangeError: WebAssembly.Memory(): could not allocate memory"
    worker = f"onmessage = ({{data}}) => postMessage({{id: data.id, error: '{said}'}})"
    headers = {"Content-Type": "text/javascript", "Cross-Origin-Embedder-Policy": "require-corp"}
    phone.route("**/engine_worker.js", lambda route: route.fulfill(body=worker, headers=headers))
    phone.goto(url)
    assert phone.error() == phone.sentence("error_memory")
