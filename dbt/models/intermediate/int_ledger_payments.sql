-- Payments of ledger loans by day, and the month from which features may use them. A payment before the opening counts
-- on the opening day. If a loan becomes known late, its payments are not visible before it. A corrected payment version
-- is reversed once the newer version is known; it counts only until then. `payments` is the number of payments less the
-- reversed ones. Days without remaining payments have no row.
select
    loan_no,
    paid_on,
    last_day(paid_on) as month_on,
    visible_month,
    cast(sum(amount) as decimal(18, 2)) as amount,
    cast(sum(payments) as integer) as payments
from (
    {%- for known_on, sign in [('known_on', '+'), ('superseded_on', '-')] %}
    select
        loans.loan_no,
        greatest(payments.paid_on, loans.opened_on) as paid_on,
        {{ visible_month(
            'greatest(payments.paid_on, loans.opened_on)',
            'greatest(payments.' ~ known_on ~ ', loans.known_on)',
            'loans.source',
        ) }} as visible_month,
        {{ sign }}payments.amount as amount,
        {{ sign }}1 as payments
    from {{ ref('stg_payments') }} as payments
    inner join {{ ref('int_ledger_loans') }} as loans
        on payments.source = loans.source and payments.loan_id = loans.loan_id
    where payments.{{ known_on }} is not null
    {{- "\n    union all" if not loop.last }}
    {%- endfor %}
) as paid
group by loan_no, paid_on, visible_month
having sum(amount) <> 0 or sum(payments) <> 0
