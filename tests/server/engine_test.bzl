"""A test of the engine, built twice: with each of two kinds of model."""

def engine_test(name, deps, **kwargs):
    """NAME_test, whose model computes a step when it is submitted, and NAME_ahead_test, whose model takes two at a time.

    Args:
      name: ends in _test.
      deps: as a cc_test's; those that all such tests have are added.
      **kwargs: as a cc_test's.
    """
    deps = deps + [
        ":fake_language_model",
        "//server:engine",
        "//third_party:absl",
        "//third_party:gtest_main",
    ]
    native.cc_test(name = name, deps = deps, **kwargs)
    native.cc_test(
        name = name[:-len("_test")] + "_ahead_test",
        local_defines = ["SIEVE_STEPS_AHEAD"],
        deps = deps,
        **kwargs
    )
