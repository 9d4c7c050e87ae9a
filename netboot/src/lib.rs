//! Empty: `weft-netboot` is not built yet, see this folder's README.
