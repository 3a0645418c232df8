"""Published checkpoints in, model folders out, and back; one module per layout, ``tools/convert.py`` on top of them."""
