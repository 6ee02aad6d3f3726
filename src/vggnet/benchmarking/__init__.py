"""Time net D in this package and in other libraries, in one run on one machine (`vggnet bench`)."""
