"""A page and a JSON API to try nets on images (`vggnet serve`)."""
