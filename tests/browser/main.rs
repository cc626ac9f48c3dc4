//! Real viewers in Chromium.
