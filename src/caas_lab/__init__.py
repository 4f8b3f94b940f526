"""The lab: demonstration, benchmark and simulation, which drive the platform from the outside.

`./caas demo | bench | simulate` run `python -m caas_lab`. No module of the product imports the lab.
"""
