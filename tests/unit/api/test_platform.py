"""What a platform may name: services over https, unless it says otherwise."""

import pytest
from pydantic import ValidationError

from rehearsal.api.platform import EndpointConfig, StoreConfig


def test_an_endpoint_is_https() -> None:
    assert EndpointConfig.model_validate({"url": "https://api.example/v1"}).url == "https://api.example/v1"
    with pytest.raises(ValidationError, match="an endpoint's url is https, unless allowHttp says otherwise"):
        EndpointConfig.model_validate({"url": "http://api.example/v1"})
    assert EndpointConfig.model_validate({"url": "http://api.example/v1", "allowHttp": True}).allow_http


@pytest.mark.parametrize(
    "url", ["ftp://api.example", "file:///etc/passwd", "https://key@api.example/v1", "api.example", "HTTP://a"]
)
def test_an_address_holds_neither_another_scheme_nor_credentials(url: str) -> None:
    with pytest.raises(ValidationError):
        EndpointConfig.model_validate({"url": url, "allowHttp": True})


@pytest.mark.parametrize("endpoint", ["https://s3.example", "https://s3.example/", "https://S3.example"])
def test_one_server_is_known_however_its_address_is_written(endpoint: str) -> None:
    one = StoreConfig.model_validate({"s3": {"bucket": "data", "endpoint": "https://s3.example"}})
    other = StoreConfig.model_validate({"s3": {"bucket": "data", "prefix": "team-b", "endpoint": endpoint}})
    assert one.overlaps(other)
