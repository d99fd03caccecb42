//! Named situations, told step by step.
