{{ accepted_rows('client_money', ['booking_id', 'booked_on', 'kind', 'loan_id', 'amount', 'currency']) }}
