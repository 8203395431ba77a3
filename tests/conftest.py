from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.compiled import use_library

# Tests start hundreds of processes: without bytecode each would compile the sources again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Tests run side by side: more threads than cores would only wait for each other, and OpenMP's wait at full speed.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Kernels compile on their first call, so a deadline would measure the compiler. The same examples every time, so that
# a failure comes from what was changed; HYPOTHESIS_PROFILE=explore looks for others, as `python -m bench.soak` does.
# On a busy machine, making an example may take longer than Hypothesis expects.
common = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("vsearch", common, derandomize=True)
settings.register_profile("explore", common, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "vsearch"))

# Before the first import of kernels, here and in other worker processes.
use_library()

pytest.register_assert_rewrite("vsearch.testing")
pytest_plugins = ["tests.once", "tests.seaweed", "tests.azurite"]

# Files that take seconds, the longest first: begun last, one of them would keep a single core busy at the end.
LONG = [
    "test_docs", "fanout/test_answers", "functions/test_end_to_end", "functions/test_faults", "test_worker",
    "fanout/test_changed_index", "jpq/test_trainer", "jpq/test_refitting", "predicates/test_duckdb", "documents/test_search",
    "functions/test_texts", "jpq/test_encoder", "search/test_limits", "deploy/test_stacks", "documents/test_memory",
    "kernels/test_dialects", "test_remote", "test_odd_data", "live/test_histories", "live/test_kills",
    "live/test_machine", "encoders/test_attached", "live/test_retrain", "live/test_splitting", "live/test_ttl",
    "live/test_beginning", "live/test_live_documents", "live/test_changes", "building/test_texts",
    "fanout/test_texts", "building/test_encoding", "api/test_reading", "api/test_vectors", "api/test_variants", "integrations/test_langchain", "serving/test_console", "integrations/test_faiss_files", "integrations/test_mcp", "api/test_plotting", "serving/test_serving", "api/test_remote_rows", "live/test_history",
    "live/test_maintenance", "live/test_optimizing", "functions/test_deployed", "deploy/test_keys",
    "search/test_lloyd", "cluster/test_collections", "functions/test_packages", "fanout/test_documents", "fanout/test_loading",
    "deploy/test_template", "search/test_tuning", "test_damage", "fanout/test_faults", "quantizers/test_pq",
    "faas/test_platform", "storage/test_stores", "documents/test_codecs", "documents/test_kernels", "cli/test_app",
    "quantizers/test_contract", "search/test_filters", "search/test_row_codes", "test_ids", "cli/test_changes",
    "search/test_row_ids", "documents/test_cli", "encoders/test_compress", "predicates/test_text_limits",
    "live/test_groups", "live/test_live_prune", "live/test_forged", "live/test_group_kills", "cli/test_encoders", "storage/test_gcs", "test_far_from_the_origin",
    "search/test_exact", "test_wheel", "search/test_foreign", "search/test_floor", "test_magnitudes",
    "functions/test_handlers", "jpq/test_pairs", "test_forking", "kernels/test_caching", "fanout/test_pages",
    "search/test_native", "deploy/test_cost", "storage/test_patience", "test_cores", "test_timeouts",
    "api/test_contract", "bench/test_soak", "test_install", "search/test_min_score", "search/test_pages",
    "test_index", "test_snapshots", "cli/test_indexes", "cli/test_maintenance", "jpq/test_scoring",
    "storage/test_s3", "cli/test_training", "cluster/test_dask", "cluster/test_restarts", "cluster/test_search_many", "cluster/test_equality", "cluster/test_appending", "cluster/test_optimizing", "cluster/test_retraining", "cluster/test_texts", "cluster/test_documents",
    "fanout/test_words", "fanout/test_invokers", "encoders/test_hostile", "fanout/test_changes",
    "deploy/test_containers", "encoders/test_choosing_bits", "cli/test_exchange", "live/test_commits",
    "fanout/test_change_values", "fanout/test_changed_meanwhile", "encoders/test_outliers", "search/test_copies",
    "text/test_against_duckdb", "cli/test_searches", "kernels/test_text", "search/test_one_heap", "text/test_search",
    "kernels/test_encoder_layers", "legs/test_legs", "sparse/test_sparse", "text/test_single", "encoders/test_wordpiece", "live/test_cases", "cli/test_reading",
    "text/test_query", "storage/test_commits", "building/test_levels", "text/test_hybrid", "fanout/test_parts",
    "encoders/test_modern", "deploy/test_contents", "storage/test_take", "bench/test_building", "datasets/test_wordnet",
    "encoders/test_unigram", "text/test_forecast", "fanout/test_hedging", "fanout/test_arrow_bodies", "api/test_agreement",
    "cli/test_remote_changes", "deploy/test_terraform", "encoders/test_tokens", "kernels/test_bytes",
    "encoders/test_pruning", "building/test_prefix_files", "encoders/test_evaluation", "documents/test_inputs",
    "live/test_time_limits", "live/test_later_runs", "search/test_reaches", "api/test_paging", "live/test_plan", "storage/test_bundle_damage", "building/test_csv_columns", "fanout/test_remote", "api/test_exporting", "quantizers/test_residual", "building/test_inputs",
    "live/test_attributes", "live/test_first_commit", "kernels/test_encode", "encoders/test_byte_pairs",
    "bench/test_bandwidth", "building/test_partitioning", "kernels/test_route", "kernels/test_products",
    "bench/test_simulation", "building/test_arrow_types", "fanout/test_change_parts", "kernels/test_topk", "quantizers/test_allocation",
    "live/test_id_lookup", "kernels/test_rerank", "fanout/test_platforms", "text/test_phrases", "search/test_merge",
    "kernels/test_lloyd", "quantizers/test_lloyd", "kernels/test_rotation", "kernels/test_centroids", "fanout/test_heap",
    "search/test_single", "kernels/test_bitmaps", "serving/test_memory", "building/test_attributes",
]  # fmt: skip
RANKS = {Path(__file__).parent / f"{name}.py": rank for rank, name in enumerate(LONG)}

#: Fixtures that compile kernels ahead of time, or start what needs them; and a server of a dozen processor seconds.
SLOW_FIXTURES = {"compiled", "kernels", "libraries", "s3_server"}


def pytest_ignore_collect(collection_path, config):
    """Skip files in which all tests are slow without importing them, since some imports take seconds."""
    return True if config.option.markexpr == "not slow" and collection_path in RANKS else None


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    """Long files first, the others after them in the order they were found; they, and what compiles, are slow."""
    for item in items:
        if item.path in RANKS or SLOW_FIXTURES & set(item.fixturenames):
            item.add_marker("slow")
    items.sort(key=lambda item: RANKS.get(item.path, len(RANKS)))


@pytest.fixture(autouse=True, scope="session")
def settings_of_tests():
    """Builds tune on few queries, or four fifths of their time would go there; and functions may start late.

    AWS gives a function ten seconds to start, and tests run on machines that are busy, too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsearch.search.defaults.TUNING_QUERIES", 64)
        patch.setattr("vsearch.faas.environments.INIT_SECONDS", 120.0)
        yield


@pytest.fixture
def full_tuning(monkeypatch):
    """Builds tune on as many queries as they do for users: for tests of the recall that an index has by default."""
    monkeypatch.setattr("vsearch.search.defaults.TUNING_QUERIES", 512)


@pytest.fixture
def two_threads():
    """BLAS and OpenMP with more than one thread, as for users."""
    import faiss  # noqa: F401  what is not loaded yet cannot be told
    from threadpoolctl import threadpool_limits

    with threadpool_limits(2):
        yield
