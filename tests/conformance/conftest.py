"""The comparison with installed engines is asked for, by --live: it is no part of the test command."""


def pytest_ignore_collect(collection_path, config):
    if collection_path.name == "test_live.py" and not config.getoption("live"):
        return True
    return None
