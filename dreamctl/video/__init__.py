"""Frames to panels to files; how a vector observation becomes a picture."""
