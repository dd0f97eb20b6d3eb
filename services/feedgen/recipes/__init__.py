"""Recipes: what a feed is made of, as data. The TOML files beside this one come with feedmesh."""
