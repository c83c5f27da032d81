"""Why a benchmark cannot begin, in words that say what to do."""

from docker.errors import APIError, DockerException, ImageNotFound

from bench.__main__ import reason


def test_an_image_that_is_missing_is_named_and_no_engine_is_blamed() -> None:
    said = reason(ImageNotFound("404", explanation="No such image: postgres:17"))

    assert said == "No such image: postgres:17: 'make engine' brings the images"


def test_what_the_engine_refuses_is_said_in_its_words() -> None:
    said = reason(APIError("500", explanation="port is already allocated"))

    assert said == "Docker refuses: port is already allocated"


def test_an_engine_that_does_not_answer_is_said_to() -> None:
    said = reason(DockerException("connection refused"))

    assert said == "no Docker engine answers (DockerException): 'make engine'"
