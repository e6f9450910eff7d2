"""Who answers the phone. One engine for the whole process, made when this is imported."""

from callengine import Agent, CallEngine, CallSummary, Tool


# What the AI can do. It runs on a thread that carries no audio and is not the event loop's: it may
# use the ORM. A thread has connections of its own: call django.db.close_old_connections() first.
def free_slots(day: str) -> list[str]:
    return {"saturday": ["09:15"], "sunday": []}.get(day.lower(), ["09:15", "16:00"])


receptionist = Agent(
    instructions="You are the receptionist of Riverside Dental Practice. Be brief and friendly.",
    tools=(
        Tool(
            name="free_slots",
            description="Free appointments on a day of the week.",
            parameters={
                "type": "object",
                "properties": {"day": {"type": "string"}},
                "required": ["day"],
            },
            function=free_slots,
        ),
    ),
)


# What a call amounted to, once it is over. This, too, may use the ORM.
def call_over(summary: CallSummary) -> None:
    print(f"{summary.call_sid}: {summary.end_cause}, {summary.duration_s:.1f} s", flush=True)


# The settings are the environment's. Nothing is started before the first call.
engine = CallEngine(agent=receptionist)
