"""Reports that people look at: one HTML file about runs, ladders, evaluations and localisation, and its figures.

A report reads what other rooms wrote (metrics.csv, config.json, val.json, stored posteriors, JSON of commands). Where a
number is missing, it calls the room that computes it.

    sources        what lies at the given paths          contents       what a report holds: sections and their parts
    measuring      evaluation, from stored posteriors    style          the one style of all figures; SVG
    building       which sections a report has           page           sections to one HTML file
"""
