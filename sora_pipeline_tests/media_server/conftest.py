from sora_pipeline_tests.object_stores.conftest import no_stores, s3, s3_server

__all__ = ["no_stores", "s3", "s3_server"]
