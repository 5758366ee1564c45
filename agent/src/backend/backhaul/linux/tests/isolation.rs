//! Slices do not hear each other, and the underlay hears nothing of them.
