"""The folder for your own assets, schedules and sensors, which Dagster loads together with Creditloom's definitions.

Dagster loads every Python file in this folder. Creditloom itself puts no definitions here, and the nightly job does not
run your assets. For instructions, see docs/your-own-assets.md.
"""
