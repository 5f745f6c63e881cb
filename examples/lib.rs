//! Nothing: the programs beside this file are the examples.
