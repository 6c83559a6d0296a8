{{ accepted_rows('schedules', ['loan_id', 'valid_from', 'instalment_no', 'due_on', 'amount', 'principal', 'interest']) }}
