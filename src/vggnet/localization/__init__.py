"""Localisation (App. A): nets that draw boxes, how they are trained, merged, judged and shown."""
