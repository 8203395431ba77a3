"""Conformance suites: what every implementation of one of our protocols, and every record, has to do, as pytest classes.

Subclass a suite in a test file, give the fixture that it asks for, and run pytest: the suite's tests are then yours.

==================================================== ========== =================
Suite                                                Fixture    of
==================================================== ========== =================
`vsearch.testing.attributes.AttributeTypeContract`   ``case``   `AttributeRecord`
`vsearch.testing.indexes.IndexContract`              ``opened`` `SearchableIndex`
`vsearch.testing.invokers.InvokerContract`           ``called`` `Invoker`
`vsearch.testing.quantizers.QuantizerContract`       ``case``   `QuantizerRecord`
`vsearch.testing.stores.StoreContract`               ``store``  `Store`
==================================================== ========== =================

Needs pytest. ``pytest.register_assert_rewrite("vsearch.testing")`` in a conftest makes failures show their values.
"""
