#!/bin/sh
# Makes every clip of this folder, and clips.json. Needs Debian's espeak-ng and sox; run it from anywhere.
#
# The voices are synthetic and the texts are ours, so the clips carry the licence of the project.
# Telephone band (300-3400 Hz), 8 kHz mu-law without a header, peaks at -3 dBFS, silence trimmed at both ends.
# sox -D: no dither, so that the same espeak-ng gives the same bytes.
set -eu
cd "$(dirname "$0")"

AGENT=en-gb+f3
CALLER=en-us+m7
ENTRIES=""

# entry NAME VOICE TEXT: remembers one line of clips.json.
entry() {
    bytes=$(wc -c <"$1.ulaw")
    sum=$(sha256sum "$1.ulaw" | cut -d' ' -f1)
    ENTRIES="$ENTRIES${ENTRIES:+,
}  \"$1\": {\"text\": \"$3\", \"voice\": \"$2\", \"milliseconds\": $((bytes / 8)), \"sha256\": \"$sum\"}"
}

# say NAME VOICE WORDS_PER_MINUTE TEXT
say() {
    espeak-ng -v "$2" -s "$3" --stdout "$4" |
        sox -D -t wav - -t ul -r 8000 -c 1 "$1.ulaw" sinc 300-3400 rate 8000 norm -3 \
            silence 1 0.005 4% reverse silence 1 0.01 0.5% reverse
    entry "$1" "$2" "$4"
}

say agent_greeting $AGENT 165 "Good morning, Riverside Dental Practice. How can I help you today?"
say agent_reply_1 $AGENT 165 "We are open from Monday to Friday, from eight in the morning until half past six in the evening. On Saturdays we close at one, and on Sundays you can reach the emergency service."
say agent_reply_2 $AGENT 165 "You find us at twelve Mill Lane, right across from the library. If you come by train, leave the station on the north side, turn left, and walk along the river for five minutes."
say agent_reply_3 $AGENT 165 "I can offer you Tuesday at a quarter past nine, or Thursday at four in the afternoon. Which of the two would suit you better?"
say agent_reply_4 $AGENT 165 "Your appointment is booked. Please bring your insurance card and a list of any medicine you take, and come ten minutes early, so that we can fill in the form together."
say agent_reply_5 $AGENT 165 "A check-up costs sixty pounds and takes about half an hour. X-rays are included, and you will get a written estimate before any treatment starts."
say agent_reply_6 $AGENT 165 "There is a car park behind the building, free for the first two hours. The entrance is on Canal Street, and a lift takes you up to the second floor."

say caller_hello $CALLER 170 "Hello, good morning."
say caller_question_1 $CALLER 170 "What time do you open on Saturday?"
say caller_question_2 $CALLER 170 "Can you tell me how to get there?"
say caller_question_3 $CALLER 170 "I would like to book a visit for next week."
say caller_question_4 $CALLER 170 "How much is a check-up, please?"
say caller_barge_in_1 $CALLER 180 "Wait, wait, sorry."
say caller_barge_in_2 $CALLER 180 "No, stop please."
say caller_barge_in_3 $CALLER 180 "Yeah, but one moment."
say caller_yes $CALLER 150 "Yes."

# One burst of band noise with a sharp onset: loud, but not speech.
sox -D -R -n -t ul -r 8000 -c 1 cough.ulaw synth 0.2 brownnoise sinc 300-2500 fade t 0.004 0.2 0.09 norm -3
entry cough "noise" ""

printf '{\n%s\n}\n' "$ENTRIES" >clips.json
