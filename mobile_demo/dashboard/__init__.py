"""The dashboard: pure views over the records, charts and markup made from them, and the Streamlit page."""
