//! Empty: `weft-orchestrator` is not built yet, see this folder's README.
