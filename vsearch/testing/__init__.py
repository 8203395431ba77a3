"""Conformance test suites for implementations of the protocols and records of vsearch, as pytest classes.

Subclass a suite in a test file, define the fixture that it needs, and run pytest: the subclass inherits all tests.

==================================================== ========== =================
Suite                                                Fixture    of
==================================================== ========== =================
`vsearch.testing.attributes.AttributeTypeContract`   ``case``   `AttributeRecord`
`vsearch.testing.indexes.IndexContract`              ``opened`` `SearchableIndex`
`vsearch.testing.invokers.InvokerContract`           ``called`` `Invoker`
`vsearch.testing.legs.LegContract`                   ``case``   `Leg`
`vsearch.testing.quantizers.QuantizerContract`       ``case``   `QuantizerRecord`
`vsearch.testing.stores.StoreContract`               ``store``  `Store`
==================================================== ========== =================

Needs pytest. ``pytest.register_assert_rewrite("vsearch.testing")`` in a conftest makes failures show their values.
"""
