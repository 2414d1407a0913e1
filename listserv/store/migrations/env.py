"""Alembic's entry: it migrates over the connection that `store.upgrade` hands it, in one transaction."""

from alembic import context

from listserv.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
