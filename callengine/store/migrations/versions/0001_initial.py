"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "callengine_businesses",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("called", sa.String(128), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("greeting", sa.String(20000), nullable=True),
        sa.Column("instructions", sa.String(20000), nullable=False),
        sa.Column("voice", sa.String(200), nullable=True),
        sa.Column("language", sa.String(200), nullable=True),
        sa.Column("fallback_text", sa.String(20000), nullable=False),
        sa.Column("fallback_clip", sa.LargeBinary(), nullable=False),
        sa.Column("farewell_text", sa.String(20000), nullable=False),
        sa.Column("farewell_clip", sa.LargeBinary(), nullable=False),
        sa.Column("closed_text", sa.String(20000), nullable=False),
        sa.Column("transfer_number", sa.String(128), nullable=True),
        sa.Column("business_hours", sa.JSON(), nullable=False),
        sa.Column("timezone", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_callengine_businesses"),
        sa.UniqueConstraint("called", name="uq_callengine_businesses_called"),
    )
    op.create_table(
        "callengine_calls",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("call_sid", sa.String(64), nullable=False),
        sa.Column("stream_sid", sa.String(64), nullable=False),
        sa.Column("account_sid", sa.String(64), nullable=False),
        sa.Column("caller", sa.String(128), nullable=False),
        sa.Column("called", sa.String(128), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_cause", sa.String(200), nullable=True),
        sa.Column("end_detail", sa.String(20000), nullable=True),
        sa.Column("duration_s", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_callengine_calls"),
    )
    op.create_index("ix_callengine_calls_began_at", "callengine_calls", ["began_at"])
    op.create_index("ix_callengine_calls_call_sid", "callengine_calls", ["call_sid"])
    op.create_index(
        "ix_callengine_calls_called_began_at", "callengine_calls", ["called", "began_at"]
    )
    op.create_index("ix_callengine_calls_caller", "callengine_calls", ["caller"])
    op.create_table(
        "callengine_erased_calls",
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("call_id", name="pk_callengine_erased_calls"),
    )
    op.create_index(
        "ix_callengine_erased_calls_erased_at", "callengine_erased_calls", ["erased_at"]
    )
    op.create_table(
        "callengine_barge_ins",
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(200), nullable=False),
        sa.Column("onset_s", sa.Double(), nullable=False),
        sa.Column("decided_s", sa.Double(), nullable=False),
        sa.Column("level_rms", sa.Integer(), nullable=False),
        sa.Column("barge_in", sa.Integer(), nullable=True),
        sa.Column("response_id", sa.String(200), nullable=True),
        sa.Column("heard", sa.JSON(), nullable=False),
        sa.Column("flushed_frames", sa.Integer(), nullable=False),
        sa.Column("settled_s", sa.Double(), nullable=True),
        sa.Column("cancel_sent_s", sa.Double(), nullable=True),
        sa.Column("cancel_resolved_s", sa.Double(), nullable=True),
        sa.Column("cancel_settlement", sa.String(200), nullable=True),
        sa.ForeignKeyConstraint(
            ["call_id"],
            ["callengine_calls.id"],
            name="fk_callengine_barge_ins_call_id_callengine_calls",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("call_id", "entry", name="pk_callengine_barge_ins"),
    )
    op.create_index(
        "ix_callengine_barge_ins_outcome_call_id", "callengine_barge_ins", ["outcome", "call_id"]
    )
    op.create_table(
        "callengine_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(200), nullable=False),
        sa.Column("detail", sa.String(20000), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["call_id"],
            ["callengine_calls.id"],
            name="fk_callengine_events_call_id_callengine_calls",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_callengine_events"),
    )
    op.create_index("ix_callengine_events_call_id", "callengine_events", ["call_id"])
    op.create_index("ix_callengine_events_kind_at", "callengine_events", ["kind", "at"])
    op.create_table(
        "callengine_summaries",
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("first_chunk_bytes", sa.Integer(), nullable=False),
        sa.Column("tx_frames", sa.Integer(), nullable=False),
        sa.Column("tx_late_frames", sa.Integer(), nullable=False),
        sa.Column("tx_schedule_resets", sa.Integer(), nullable=False),
        sa.Column("barge_in_events", sa.Integer(), nullable=False),
        sa.Column("stuck_recoveries", sa.Integer(), nullable=False),
        sa.Column("context_errors", sa.Integer(), nullable=False),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.Column("model_reconnects", sa.Integer(), nullable=False),
        sa.Column("fallbacks", sa.Integer(), nullable=False),
        sa.Column("dead_air_s", sa.Double(), nullable=False),
        sa.Column("transferred", sa.Boolean(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["call_id"],
            ["callengine_calls.id"],
            name="fk_callengine_summaries_call_id_callengine_calls",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("call_id", name="pk_callengine_summaries"),
    )
    op.create_table(
        "callengine_turns",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("speaker", sa.String(200), nullable=False),
        sa.Column("item_id", sa.String(200), nullable=False),
        sa.Column("text", sa.String(20000), nullable=False),
        sa.Column("heard_text", sa.String(20000), nullable=False),
        sa.Column("heard_ms", sa.Integer(), nullable=True),
        sa.Column("audio_ms", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["call_id"],
            ["callengine_calls.id"],
            name="fk_callengine_turns_call_id_callengine_calls",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_callengine_turns"),
    )
    op.create_index("ix_callengine_turns_at", "callengine_turns", ["at"])
    op.create_index("ix_callengine_turns_call_id_number", "callengine_turns", ["call_id", "number"])
    op.create_table(
        "callengine_usage",
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("input_audio_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_audio_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["call_id"],
            ["callengine_calls.id"],
            name="fk_callengine_usage_call_id_callengine_calls",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("call_id", name="pk_callengine_usage"),
    )


def downgrade() -> None:
    op.drop_table("callengine_usage")
    op.drop_table("callengine_turns")
    op.drop_table("callengine_summaries")
    op.drop_table("callengine_events")
    op.drop_table("callengine_barge_ins")
    op.drop_table("callengine_erased_calls")
    op.drop_table("callengine_calls")
    op.drop_table("callengine_businesses")
