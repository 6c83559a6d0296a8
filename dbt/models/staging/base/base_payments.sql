{{ accepted_rows('payments', ['payment_id', 'loan_id', 'paid_on', 'amount', 'currency']) }}
