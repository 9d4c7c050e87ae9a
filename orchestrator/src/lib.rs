//! Nothing here yet: see the README of this folder.
